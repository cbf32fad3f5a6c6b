"""Milestones of curves made by hand."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telescope.trials.milestones import (
    Milestones,
    Moment,
    as_metrics,
    from_metrics,
    is_settled,
    milestones_of,
)
from telescope.trials.outcome import Measurement


def curve(train: Sequence[float], held_out: Sequence[float]) -> list[Measurement]:
    """A curve with an evaluation every 10 steps, in percent, and a point without one in between."""
    points = []
    for i, (train_accuracy, accuracy) in enumerate(zip(train, held_out, strict=True), start=1):
        metrics = {"accuracy": accuracy / 100, "train_accuracy": train_accuracy / 100}
        for step, own in ((10 * i - 5, {"train_loss": 1.0}), (10 * i, metrics)):
            points.append(Measurement(step, 4 * step, 100.0 * step, step / 2, own))
    return points


def steps(milestones: Milestones) -> dict[str, int | None]:
    """The steps of the milestones that are not counts."""
    names = ("memorised", "crossed", "sustained", "collapsed")
    moments = {name: getattr(milestones, name) for name in names}
    return {name: moment and moment.step for name, moment in moments.items()}


CURVES = {
    # training, held out, evaluations that sustain; memorised, crossed, sustained, collapsed, below
    "a run that groks": (
        ([50, 99, 100, 100, 100, 100, 100], [1, 2, 5, 60, 95, 99, 100], 3),
        (20, 50, 50, None, 0),
    ),
    "never": (([50, 99, 100, 100], [1, 2, 5, 94.9], 1), (20, None, None, None, 0)),
    "never memorised": (([50, 99, 98, 99], [1, 2, 5, 50], 1), (None, None, None, None, 0)),
    "censored before it is sustained": (
        ([99, 99, 100, 100], [1, 1, 95, 96], 3),
        (10, 30, None, None, 0),
    ),
    "crossed before memorising, which counts once it has memorised": (
        ([90, 95, 98, 99, 99], [95, 96, 97, 98, 99], 2),
        (40, 40, 10, None, 0),
    ),
    "crossed early and lost until after memorising": (
        ([90, 99, 99, 99, 99], [96, 60, 60, 95, 94], 1),
        (20, 40, 10, None, 1),
    ),
    "one evaluation at 99 % does not memorise": (
        ([99, 50, 99, 99, 98], [1, 1, 1, 1, 1], 1),
        (30, None, None, None, 0),
    ),
    "sustained after two interruptions": (
        ([99, 99, 99, 99, 99, 99, 99, 99], [95, 95, 94, 95, 90, 95, 95, 95], 3),
        (10, 10, 60, None, 2),
    ),
    "collapse": (
        ([99, 99, 99, 99, 99], [96, 96, 50, 49, 96], 2),
        (10, 10, 10, 40, 2),
    ),
    "low before it generalises is no collapse": (
        ([99, 99, 99], [10, 20, 95], 1),
        (10, 30, 30, None, 0),
    ),
    "the first evaluation reaches all": (([99, 99], [95, 40], 1), (10, 10, 10, 20, 1)),
    "memorised at the last two": (([1, 99, 99], [1, 1, 95], 1), (20, 30, 30, None, 0)),
}


@pytest.mark.parametrize(("given", "expected"), CURVES.values(), ids=CURVES)
def test_the_milestones_of_a_curve_are_those_found_by_hand(
    given: tuple[list[float], list[float], int], expected: tuple[int | None, ...]
) -> None:
    train, held_out, evaluations = given
    milestones = milestones_of(curve(train, held_out), evaluations)
    assert (*steps(milestones).values(), milestones.below) == expected
    assert milestones.evaluations == len(train)


def test_a_moment_lies_between_its_evaluation_and_the_one_before() -> None:
    milestones = milestones_of(curve([99, 99, 99], [1, 1, 95]), 1)
    assert milestones.memorised == Moment(10, 1000.0, 5.0, 0, 0.0, 0.0)
    assert milestones.crossed == milestones.sustained == Moment(30, 3000.0, 15.0, 20, 2000.0, 10.0)


def test_the_cost_of_a_moment_is_that_of_training_alone() -> None:
    points = [
        replace(point, metrics=point.metrics | {"evaluation/flops": 300.0, "evaluation/seconds": 2})
        if "accuracy" in point.metrics
        else point
        for point in curve([99, 99, 99], [1, 1, 95])
    ]
    milestones = milestones_of(points, 1)
    assert milestones.memorised == Moment(10, 700.0, 3.0, 0, 0.0, 0.0)
    assert milestones.crossed == Moment(30, 2100.0, 9.0, 20, 1400.0, 6.0)
    assert (milestones.evaluation_flops, milestones.evaluation_seconds) == (900.0, 6.0)
    assert from_metrics(as_metrics(milestones)) == milestones


def test_a_curve_without_evaluations_has_no_milestones() -> None:
    diverged = [Measurement(5, 20, 1.0, 1.0, {"train_loss": 1.0, "loss": float("inf")})]
    nothing = Milestones(None, None, None, None, below=0, evaluations=0)
    assert milestones_of([], 1) == milestones_of(diverged, 1) == nothing
    assert from_metrics({"loss": 1.0}) == nothing


PERCENT = st.sampled_from([0.0, 49.0, 50.0, 94.0, 95.0, 98.0, 99.0, 100.0])
ACCURACIES = st.lists(st.tuples(PERCENT, PERCENT), max_size=12)


@settings(deadline=None)
@given(ACCURACIES, st.integers(1, 4))
def test_milestones_survive_their_storage_as_metrics(
    accuracies: list[tuple[float, float]], evaluations: int
) -> None:
    points = curve([train for train, _ in accuracies], [accuracy for _, accuracy in accuracies])
    milestones = milestones_of(points, evaluations)
    metrics = as_metrics(milestones)
    assert all(type(value) is float for value in metrics.values())
    assert from_metrics(metrics | {"loss": 1.0, "accuracy": 0.5}) == milestones


def test_stored_milestones_have_stable_names() -> None:
    metrics = as_metrics(milestones_of(curve([99, 99], [1, 95]), 2))
    assert metrics == {
        "milestone/below": 0.0,
        "milestone/evaluations": 2.0,
        "milestone/evaluation_flops": 0.0,
        "milestone/evaluation_seconds": 0.0,
        "milestone/memorised/step": 10.0,
        "milestone/memorised/flops": 1000.0,
        "milestone/memorised/seconds": 5.0,
        "milestone/memorised/previous_step": 0.0,
        "milestone/memorised/previous_flops": 0.0,
        "milestone/memorised/previous_seconds": 0.0,
        "milestone/crossed/step": 20.0,
        "milestone/crossed/flops": 2000.0,
        "milestone/crossed/seconds": 10.0,
        "milestone/crossed/previous_step": 10.0,
        "milestone/crossed/previous_flops": 1000.0,
        "milestone/crossed/previous_seconds": 5.0,
    }


@settings(deadline=None)
@given(ACCURACIES, st.integers(1, 4))
def test_a_run_is_settled_as_soon_as_all_its_milestones_are_known(
    accuracies: list[tuple[float, float]], evaluations: int
) -> None:
    points = curve([train for train, _ in accuracies], [accuracy for _, accuracy in accuracies])
    ends = [
        point.step
        for i, point in enumerate(points)
        if "accuracy" in point.metrics and is_settled(points[:i], point.metrics, evaluations)
    ]
    reached = milestones_of(points, evaluations)
    if reached.memorised is None or reached.crossed is None or reached.sustained is None:
        assert ends == []
    else:
        known = (
            reached.memorised.step + 10,
            reached.crossed.step,
            reached.sustained.step + 10 * (evaluations - 1),
        )
        assert ends[0] == max(known)


def test_a_run_that_generalises_before_it_memorises_goes_on_until_it_has_memorised() -> None:
    points = curve([90, 90, 99, 99], [96, 96, 96, 96])[1::2]
    settled = [is_settled(points[:i], points[i].metrics, 2) for i in range(4)]
    assert settled == [False, False, False, True]
    reached = milestones_of(points, 2)
    assert (reached.sustained.step, reached.crossed.step) == (10, 30)


def test_points_without_an_evaluation_change_nothing() -> None:
    points = curve([99, 99, 99], [1, 95, 40])
    evaluated = [point for point in points if "accuracy" in point.metrics]
    assert milestones_of(points, 1) == milestones_of(evaluated, 1)
    assert replace(milestones_of(points, 1), collapsed=None) != milestones_of(points, 1)
