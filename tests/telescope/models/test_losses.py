"""Softmax variants: probabilities, shifts, gradients in float64, thresholds by brute force."""

import math
from itertools import combinations
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from telescope.models.losses import LOSSES, probabilities, sparsemax_threshold
from telescope.trials.types import SoftmaxName

NAMES = get_args(SoftmaxName)
ROWS = st.lists(
    st.one_of(st.sampled_from([-1.0, 0.0, 0.5, 1.0]), st.floats(-20, 20)), min_size=2, max_size=9
)


def random_logits(rows: int = 6, classes: int = 7, size: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return size * torch.randn(rows, classes, generator=generator, dtype=torch.float64)


TARGETS = torch.tensor([0, 1, 2, 3, 4, 6])


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None)
@given(ROWS)
def test_probabilities_are_not_negative_and_sum_to_one(name: Any, row: list[float]) -> None:
    p = probabilities(name, torch.tensor([row], dtype=torch.float64))
    assert (p >= 0).all()
    assert float(p.sum()) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_probabilities_sum_to_one_for_the_large_logits_of_a_long_run(name: Any) -> None:
    logits = 1e5 + random_logits().float()
    assert probabilities(name, logits).sum(dim=1).tolist() == pytest.approx([1.0] * 6, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "ignores"), [("softmax", True), ("sparsemax", True), ("stablemax", False)]
)
def test_only_stablemax_notices_a_constant_added_to_all_logits(name: Any, ignores: bool) -> None:
    logits = random_logits()
    for constant in (-30.0, 0.7, 1000.0):
        same_loss = torch.allclose(
            LOSSES[name](logits, TARGETS), LOSSES[name](logits + constant, TARGETS), atol=1e-9
        )
        same_p = torch.allclose(
            probabilities(name, logits), probabilities(name, logits + constant), atol=1e-9
        )
        assert (same_loss, same_p) == (ignores, ignores)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [0.3, 2.0, 10.0])
def test_analytic_and_numeric_gradients_agree(name: Any, size: float) -> None:
    logits = random_logits(size=size).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: LOSSES[name](z, TARGETS), (logits,))


@pytest.mark.parametrize("name", ["softmax", "sparsemax"])
@settings(deadline=None)
@given(ROWS, st.integers(0, 1))
def test_the_gradient_is_the_error_of_the_probabilities(
    name: Any, row: list[float], target: int
) -> None:
    logits = torch.tensor([row], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(LOSSES[name](logits, torch.tensor([target])).sum(), logits)
    expected = probabilities(name, logits.detach())
    expected[0, target] -= 1
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ["softmax", "stablemax"])
@settings(deadline=None)
@given(ROWS, st.integers(0, 1))
def test_the_loss_is_minus_the_logarithm_of_the_answers_probability(
    name: Any, row: list[float], target: int
) -> None:
    logits = torch.tensor([row], dtype=torch.float64)
    loss = float(LOSSES[name](logits, torch.tensor([target])))
    assert loss == pytest.approx(-math.log(float(probabilities(name, logits)[0, target])), abs=1e-9)


def test_stablemax_by_hand() -> None:
    # s = 1/2, 1, 4, of a sum of 5.5
    logits = torch.tensor([[-1.0, 0.0, 3.0]])
    assert probabilities("stablemax", logits)[0].tolist() == pytest.approx(
        [0.5 / 5.5, 1 / 5.5, 4 / 5.5]
    )
    loss = LOSSES["stablemax"](logits, torch.tensor([0]))
    assert loss.dtype == torch.float64
    assert float(loss) == pytest.approx(math.log(11))


def test_stablemax_keeps_a_loss_where_softmax_in_float32_has_none() -> None:
    logits = torch.tensor([[40.0, 0.0, 0.0]])
    answer = torch.tensor([0])
    assert float(LOSSES["softmax"](logits, answer)) == 0
    assert float(LOSSES["stablemax"](logits, answer)) == pytest.approx(math.log(43 / 41))
    # the largest float32 logits stay finite
    extreme = torch.tensor([[3e38, -3e38]])
    assert math.isfinite(float(LOSSES["stablemax"](extreme, torch.tensor([1]))))


def test_sparsemax_by_hand() -> None:
    # 1 + 2 * 0.5 > 1.5, but 1 + 3 * -1 < 0.5: two classes, and tau = (1 + 0.5 - 1) / 2
    logits = torch.tensor([[1.0, 0.5, -1.0]])
    assert probabilities("sparsemax", logits)[0].tolist() == [0.75, 0.25, 0.0]
    # -z_y + 1/2 + (1 - 1/16 + 1/4 - 1/16) / 2
    losses = [float(LOSSES["sparsemax"](logits, torch.tensor([y]))) for y in range(3)]
    assert losses == [0.0625, 0.5625, 2.0625]


def brute_force_threshold(row: list[float]) -> float:
    """The threshold of the one set of largest classes whose probabilities are consistent."""
    for size in range(1, len(row) + 1):
        for support in combinations(row, size):
            tau = (sum(support) - 1) / size
            rest = list(row)
            for z in support:
                rest.remove(z)
            if min(support) > tau - 1e-12 and max(rest, default=-math.inf) <= tau + 1e-12:
                return tau
    raise AssertionError("there is always such a set")


@settings(deadline=None)
@given(ROWS)
def test_the_threshold_of_sparsemax_is_the_one_that_brute_force_finds(row: list[float]) -> None:
    tau = float(sparsemax_threshold(torch.tensor([row], dtype=torch.float64)))
    assert tau == pytest.approx(brute_force_threshold(row), abs=1e-9)


@settings(deadline=None)
@given(ROWS, st.integers(0, 1))
def test_sparsemax_loss_is_the_closed_form_at_the_threshold_of_brute_force(
    row: list[float], target: int
) -> None:
    tau = brute_force_threshold(row)
    expected = 0.5 - row[target] + sum(z**2 - tau**2 for z in row if z > tau) / 2
    loss = LOSSES["sparsemax"](torch.tensor([row], dtype=torch.float64), torch.tensor([target]))
    assert float(loss) == pytest.approx(expected, abs=1e-9)
    assert float(loss) >= -1e-12


def test_sparsemax_loss_is_zero_once_the_answer_leads_by_one() -> None:
    logits = torch.tensor([[1.0, 0.0, -3.0], [0.99, 0.0, -3.0], [500.0, 3.0, 2.0]])
    losses = LOSSES["sparsemax"](logits, torch.tensor([0, 0, 0])).tolist()
    assert losses[0] == losses[2] == 0
    assert losses[1] > 0


def test_sparsemax_keeps_its_precision_for_large_logits_in_float32() -> None:
    logits = random_logits().float()
    shifted = (logits + 4096).double() - 4096  # what float32 keeps of them
    loss = LOSSES["sparsemax"](logits + 4096, TARGETS)
    expected = LOSSES["sparsemax"](shifted, TARGETS)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-5)
