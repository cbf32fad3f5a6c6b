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
    plans, trials = list[Planned](), list[Trial]()
    while not (plan := study.plan(trials)).done:
        plans += plan.trials
        trials += [completed(entry.spec, list(train(entry.spec))) for entry in plan.trials]
    return plans


def stages(plans: Iterable[Planned]) -> list[str]:
    """Each once, in the order of their first trial."""
    return list(dict.fromkeys(entry.label.stage for entry in plans))


@pytest.mark.parametrize("schedule", ["robust", "paper"])
def test_trials_of_a_ladder_have_a_level_and_those_outside_of_it_none(schedule: str) -> None:
    job = document(
        1,
        schedule=schedule,
        coordinates="check",
        validate_at_target=True,
        optimizer=["muon", "adamw"],
    )
    plans = planned(parse(job), SURFACE)
    assert stages(plans)[:2] == ["coordinates", "grid"]
    assert stages(plans)[-1] == "validation"
    for entry in plans:
        outside = entry.label.stage in ("coordinates", "validation")
        assert (entry.spec.measure == "coordinates") == (entry.label.stage == "coordinates")
        assert entry.label.level == (
            None if outside else [32, 64, 128, 256].index(entry.spec.model.width)
        )
        assert (entry.label.ladder, entry.label.variant) == (entry.spec.optimizer.name, "")
    assert {entry.label.level for entry in plans} >= {None, 0, 1, 2}


def test_a_trial_of_a_variant_is_labelled_with_its_name() -> None:
    study = parse(document(1, sweep_over=ARCHITECTURES))
    plans = planned(study, SURFACE)
    assert {entry.label.variant for entry in plans} == {"plain", "tied"}
    assert all(entry.label.variant == variant_of(study.question, entry.spec) for entry in plans)


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
    plans = planned(parse(over_batches(**how)), Trainer())
    assert sorted(stages(plans)) == sorted(expected)
    for entry in plans:
        assert (entry.label.stage == "timing") == (entry.spec.measure == "time")
        assert (entry.label.ladder, entry.label.level, entry.label.variant) == (
            entry.spec.optimizer.name,
            None,
            "",
        )
