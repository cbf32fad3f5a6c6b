"""Do the plans of all kinds say where in their study each trial stands?"""

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from surfaces.bowls import document, random_surface
from telescope.studies.kind import AnyStudy, Planned
from telescope.studies.registry import parse
from telescope.studies.telescoping.question.variants import variant_of
from telescope.trials.outcome import Measurement, Trial, completed
from telescope.trials.spec import TrialSpec
from tests.telescope.studies.compute_time.laws import TUNED, Trainer
from tests.telescope.studies.compute_time.laws import document as over_batches

SURFACE = random_surface(3, 1, noise=0.2)
ARCHITECTURES = {"model": [{"name": "plain"}, {"name": "tied", "tied_embeddings": True}]}


def planned(study: AnyStudy, train: Callable[[TrialSpec], Iterable[Measurement]]) -> list[Planned]:
    """All trials of a study, as its plans have them."""
    found, trials = list[Planned](), list[Trial]()
    while not (plan := study.plan(trials)).done:
        found += plan.trials
        trials += [completed(one.spec, list(train(one.spec))) for one in plan.trials]
    return found


def stages(found: Iterable[Planned]) -> list[str]:
    """Each once, in the order of their first trial."""
    return list(dict.fromkeys(one.label.stage for one in found))


@pytest.mark.parametrize("schedule", ["robust", "paper"])
def test_trials_of_a_ladder_have_a_level_and_those_outside_of_it_none(schedule: str) -> None:
    asked = document(
        1,
        schedule=schedule,
        coordinates="check",
        validate_at_target=True,
        optimizer=["muon", "adamw"],
    )
    found = planned(parse(asked), SURFACE)
    assert stages(found)[:2] == ["coordinates", "grid"]
    assert stages(found)[-1] == "validation"
    for one in found:
        outside = one.label.stage in ("coordinates", "validation")
        assert (one.spec.measure == "coordinates") == (one.label.stage == "coordinates")
        assert one.label.level == (
            None if outside else [32, 64, 128, 256].index(one.spec.model.width)
        )
        assert (one.label.ladder, one.label.variant) == (one.spec.optimizer.name, "")
    assert {one.label.level for one in found} >= {None, 0, 1, 2}


def test_a_trial_of_a_variant_is_labelled_with_its_name() -> None:
    study = parse(document(1, sweep_over=ARCHITECTURES))
    found = planned(study, SURFACE)
    assert {one.label.variant for one in found} == {"plain", "tied"}
    assert all(one.label.variant == variant_of(study.question, one.spec) for one in found)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"tuning": TUNED["tuning"], "optimizer": "muon"}, ["tuning", "runs", "timing"]),
        ({"optimizer": ["muon", "adamw"]}, ["runs", "timing"]),
    ],
)
def test_a_trial_over_batches_is_labelled_by_what_it_is_for(
    how: dict[str, Any], expected: list[str]
) -> None:
    found = planned(parse(over_batches(**how)), Trainer())
    assert sorted(stages(found)) == sorted(expected)
    for one in found:
        assert (one.label.stage == "timing") == (one.spec.measure == "time")
        assert (one.label.ladder, one.label.level, one.label.variant) == (
            one.spec.optimizer.name,
            None,
            "",
        )
