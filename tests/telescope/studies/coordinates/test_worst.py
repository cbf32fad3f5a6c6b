"""A check that fails names first the layers whose own updates are wrong."""

import math
from collections.abc import Mapping
from dataclasses import replace

import pytest

from telescope.studies.coordinates.check import MOST_NAMED, assess
from telescope.studies.coordinates.design import design
from telescope.studies.coordinates.reasons import BeyondGate
from telescope.trials.outcome import Measurement, completed
from tests.telescope.small import MODEL, trial

GROWTHS = {"own/0": 0.5, "own/1": -0.7, "own/2": 0.1, "moved/0": 0.9, "moved/1": -1.2}


@pytest.mark.parametrize(
    ("growths", "worst", "failed"),
    [
        (GROWTHS, ["own/1", "own/0", "moved/1"], 4),
        (GROWTHS | {"moved/logits": 0.6}, ["own/1", "moved/logits", "own/0"], 5),
        ({"own/0": 0.3, "moved/0": 0.9}, ["own/0", "moved/0"], 2),
    ],
)
def test_own_updates_and_the_logits_come_before_what_follows_from_them(
    growths: Mapping[str, float], worst: list[str], failed: int
) -> None:
    plan = design(trial(model=replace(MODEL, width=16)), target_width=128)
    trials = []
    for spec in plan.runs[: plan.seeds * len(plan.widths)]:
        sizes = {name: growth * math.log2(spec.model.width) for name, growth in growths.items()}
        end = Measurement(spec.horizon.steps, 1, 1.0, 0.1, {"loss": 1.0} | sizes)
        trials.append(completed(spec, [end]))
    because = assess(plan, trials).because
    assert because is not None
    assert isinstance(because.finding, BeyondGate)
    assert [f"{layer.part}/{layer.layer}" for layer in because.finding.worst] == worst
    assert (because.finding.failed, len(worst) <= MOST_NAMED) == (failed, True)
