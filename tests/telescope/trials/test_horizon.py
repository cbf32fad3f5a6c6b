"""Batches that cannot be cut into windows: the problem names the field at fault."""

import pytest

from telescope.errors import Problem
from telescope.trials.data import DataSpec
from telescope.trials.horizon import HorizonSpec, batch_problem

DATA = DataSpec(corpus="python-stdlib", context=64)


@pytest.mark.parametrize(
    ("horizon", "expected"),
    [
        (HorizonSpec(steps=1, batch_tokens=128), None),
        (HorizonSpec(steps=1, batch_tokens=128, micro_batch_tokens=64), None),
        (
            HorizonSpec(steps=1, batch_tokens=32),
            Problem(
                "batch_tokens",
                "batch_tokens 32 is smaller than one context of 64 tokens; use a multiple of 64",
                32,
            ),
        ),
        (
            HorizonSpec(steps=1, batch_tokens=100),
            Problem(
                "batch_tokens",
                "batch_tokens 100 is not a multiple of the context, 64 tokens; use 64 or 128",
                100,
            ),
        ),
        (
            HorizonSpec(steps=1, batch_tokens=192, micro_batch_tokens=96),
            Problem(
                "micro_batch_tokens",
                "micro_batch_tokens 96 is not a multiple of the context, 64 tokens; "
                "use a multiple of 64 that divides batch_tokens",
                96,
            ),
        ),
    ],
)
def test_a_batch_that_cannot_be_cut_into_windows_names_its_field(
    horizon: HorizonSpec, expected: Problem | None
) -> None:
    assert batch_problem(DATA, horizon) == expected
