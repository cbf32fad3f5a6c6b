"""Courses: the runs that they consist of, and the losses that are read off these runs."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from telescope.studies.compute_time.fold import progress
from telescope.studies.compute_time.question import Question
from telescope.studies.compute_time.runs import STOP_MARGIN, Course
from telescope.train.branch import schedules_agree
from telescope.trials.outcome import Measurement, Trial
from telescope.trials.spec import TrialSpec
from tests.telescope.studies.compute_time.laws import Trainer, rounds, study, trained

READINGS = ("constant", "cooldown", "full")


def single_batch(runs: dict[str, Any], **changes: Any) -> Question:
    """A study of Muon at one batch and seed."""
    return study(runs, **{"optimizer": "muon", "batch_tokens": [512]} | changes)


def curve_runs(stages: list[list[Trial]]) -> list[list[TrialSpec]]:
    """The runs of each plan, without the timed run."""
    specs = [[trial.spec for trial in stage if trial.spec.measure == "loss"] for stage in stages]
    return [stage for stage in specs if stage]


def course_of(question: Question, trials: list[Trial]) -> Course:
    (at,) = progress(question, trials).batches
    return at.courses[0]


def test_a_trunk_ends_a_little_below_the_lowest_target() -> None:
    question = single_batch({"tokens": 600_000}, target_losses=[2.2, 2.0])
    stages = rounds(question, Trainer())
    ((trunk,),) = curve_runs(stages)
    assert trunk.horizon.stop_below_loss == pytest.approx(2.0 * (1 - STOP_MARGIN))
    assert trunk.horizon.decay == "constant"
    course = course_of(question, stages[0])
    assert course.ended
    assert course.loss[-1] <= trunk.horizon.stop_below_loss < course.loss[-2]
    assert course.tokens[-1] < trunk.horizon.tokens


def test_a_trunk_short_of_the_target_is_extended_by_branches_each_twice_as_long() -> None:
    question = single_batch({"tokens": 40_960, "doublings": 2}, target_losses=[1.7])
    stages = rounds(question, Trainer())
    (first,), (second,), (third,) = curve_runs(stages)
    assert [spec.horizon.steps for spec in (first, second, third)] == [80, 160, 320]
    for before, after in ((first, second), (second, third)):
        assert after.branch is not None
        assert (after.branch.trunk, after.branch.step) == (before.digest, before.horizon.steps)
        assert before.kept_steps == (before.horizon.steps,)
    assert third.kept_steps == ()
    course = course_of(question, [trial for stage in stages for trial in stage])
    assert course.ended
    assert (course.tokens[1:] > course.tokens[:-1]).all()
    assert course.tokens[-1] == third.horizon.tokens


def test_without_target_losses_there_is_one_stage_that_nothing_stops() -> None:
    for reading in READINGS:
        stages = curve_runs(
            rounds(
                single_batch({"reading": reading, "tokens": 40_960}, target_losses=[]), Trainer()
            )
        )
        assert len(stages) == (2 if reading == "cooldown" else 1)
        assert all(spec.horizon.stop_below_loss is None for stage in stages for spec in stage)


@pytest.mark.parametrize("reading", ["cooldown", "full"])
def test_lengths_are_half_an_octave_apart_and_two_more_come_with_each_doubling(
    reading: str,
) -> None:
    question = single_batch(
        {"reading": reading, "tokens": 163_840, "lengths": 4, "doublings": 1}, target_losses=[1.6]
    )
    ended = sorted(
        spec.horizon.steps
        for stage in curve_runs(rounds(question, Trainer()))
        for spec in stage
        if not spec.kept_steps
    )
    assert ended == [round(320 * 2 ** (half / 2)) for half in (-3, -2, -1, 0, 1, 2)]


def test_cooldowns_wait_for_their_trunk_and_begin_at_a_step_that_it_keeps() -> None:
    question = single_batch(
        {"reading": "cooldown", "tokens": 163_840, "lengths": 4, "doublings": 1},
        target_losses=[1.6],
    )
    before: dict[str, TrialSpec] = {}
    stages = curve_runs(rounds(question, Trainer()))
    assert [len(stage) for stage in stages] == [1, 4, 1, 2]
    for stage in stages:
        for spec in stage:
            if spec.branch:
                trunk = before[spec.branch.trunk]
                assert spec.branch.step in trunk.kept_steps
                assert schedules_agree(trunk.horizon, spec.horizon, spec.branch.step)
            if spec.horizon.decay == "wsd":
                assert spec.horizon.steps - spec.branch_step == round(0.2 * spec.horizon.steps)
        before |= {spec.digest: spec for spec in stage}


def test_a_course_of_final_losses_leaves_the_hot_trunk_out() -> None:
    question = single_batch({"reading": "cooldown"})
    trials = trained(question, Trainer(hot=0.1))
    course, law = course_of(question, trials), Trainer().laws["muon"]
    assert course.loss == pytest.approx(law.loss_after(course.tokens, 512))
    assert len(course.tokens) == len(
        [trial for trial in trials if trial.spec.horizon.decay == "wsd"]
    )


@pytest.mark.parametrize("reading", ["constant", "cooldown"])
def test_a_trunk_that_diverges_ends_its_course(reading: str) -> None:
    question = single_batch({"reading": reading})
    stages = rounds(question, Trainer(cliff=-1.0))
    assert [len(stage) for stage in curve_runs(stages)] == [1]
    course = course_of(question, stages[0])
    assert course.ended
    assert course.diverged


def test_a_branch_that_stops_at_its_first_held_out_loss_adds_no_training_loss() -> None:
    question = single_batch({"tokens": 40_960, "doublings": 1}, target_losses=[1.9])

    def train(spec: TrialSpec) -> Iterator[Measurement]:
        for point in Trainer()(spec):
            yield replace(
                point,
                metrics={"train_loss": 1.0, "loss": 1.8 if spec.branch else point.metrics["loss"]},
            )
            if spec.branch:
                return

    course = course_of(question, trained(question, train))
    assert course.loss.tolist()[-1] == 1.8
    assert (course.loss > 1.0).all()
    assert course.tokens[-1] == course.tokens[-2] + 512, "held-out losses are a step apart here"


def test_a_run_that_diverged_before_any_held_out_loss_gives_a_course_without_points() -> None:
    question = single_batch({"tokens": 40_960})

    def train(spec: TrialSpec) -> Iterator[Measurement]:
        return (replace(point, metrics={"train_loss": 1.0}) for point in Trainer()(spec))

    course = course_of(question, trained(question, train))
    assert (course.loss.tolist(), course.diverged) == ([], True)


def test_full_runs_that_diverge_leave_those_that_did_not() -> None:
    question = single_batch({"reading": "full", "doublings": 0, "lengths": 4})

    def train(spec: TrialSpec) -> Any:
        return Trainer(cliff=-1.0 if spec.horizon.tokens > 300_000 else 9.0)(spec)

    course = course_of(question, trained(question, train))
    assert (len(course.tokens), course.diverged, course.ended) == (3, True, True)


def test_warm_up_is_the_same_number_of_steps_at_every_length() -> None:
    from telescope.optim.schedule import warmup_steps

    for reading in READINGS:
        question = single_batch(
            {"reading": reading, "tokens": 163_840, "doublings": 1, "warmup_tokens": 10_240},
            target_losses=[1.6],
        )
        assert {
            warmup_steps(spec.horizon)
            for stage in curve_runs(rounds(question, Trainer()))
            for spec in stage
        } == {20}
