"""The assignments that a worker takes at once, and whether it compiles them.

These tests state which pack size is fastest; tests of `telescope.train.program` measure it.
"""

from dataclasses import replace
from typing import Any, Literal

import pytest

from telescope.train.program import Program
from telescope.trials.horizon import Branch
from telescope.trials.spec import TrialSpec
from tests.telescope.small import ADAMW, HORIZON, MODEL, MUON, trial
from workers.desk import Desk
from workers.interface import Assignment, Finished, Stopped
from workers.packs import MOST_TOGETHER, REPAID_STEPS, MeasurementAbandoned, Pack, Packs

LONG = replace(HORIZON, steps=REPAID_STEPS)


def assignment(
    trial_id: int,
    spec: TrialSpec | None = None,
    failures: int = 0,
    job: str = "",
    attempt: int | None = None,
) -> Assignment:
    number = attempt or 1 + failures
    return Assignment(
        trial_id,
        number,
        spec or trial(horizon=LONG, seed=trial_id),
        f"{trial_id}.pt",
        job,
        failures,
    )


class Bench:
    """A desk whose workers measure that packs of `best` trials are fastest."""

    def __init__(
        self, *assignments: Assignment, workers: int = 1, best: int = MOST_TOGETHER
    ) -> None:
        self.desk = Desk()
        self.desk.submit(*assignments)
        self.measured: list[TrialSpec] = []
        self.packs, self._best = Packs(self.desk, lambda: workers), best

    def take(self) -> list[int]:
        return [assignment.trial_id for assignment in self.packs.take(0, self.measure).assignments]

    def measure(self, first: Assignment, most: int, steps: float) -> Program:
        self.measured.append(first.spec)
        return Program(min(self._best, most))


def test_trials_of_one_shape_form_a_pack_and_others_keep_their_place() -> None:
    other = trial(ADAMW, horizon=LONG)
    bench = Bench(assignment(1), assignment(2, other), assignment(3), assignment(4), best=4)
    assert [bench.take() for _ in range(3)] == [[1, 3, 4], [2], []]


def test_packs_have_the_measured_size_and_a_shape_is_measured_once() -> None:
    bench = Bench(*map(assignment, range(5)), best=2)
    assert [bench.take() for _ in range(3)] == [[0, 1], [2, 3], [4]]
    assert len(bench.measured) == 1


@pytest.mark.parametrize(("trials", "takes"), [(8, [4, 4]), (9, [5, 4]), (3, [2, 1]), (2, [1, 1])])
def test_workers_share_the_waiting_trials(trials: int, takes: list[int]) -> None:
    bench = Bench(*map(assignment, range(trials)), workers=2)
    assert [len(bench.take()) for _ in takes] == takes


def test_a_worker_takes_a_large_pack_if_enough_work_is_left_for_others() -> None:
    wide = trial(model=replace(MODEL, width=2 * MODEL.width), horizon=LONG)
    bench = Bench(
        *map(assignment, range(4)),
        *(assignment(4 + i, replace(wide, seed=i)) for i in range(2)),
        workers=2,
    )
    assert bench.take() == [0, 1, 2, 3]  # less than half of the work, by FLOPs


def test_finished_trials_do_not_count_as_waiting_work() -> None:
    bench = Bench(*map(assignment, range(4)), workers=2)
    assert bench.take() == [0, 1]
    for trial_id in (0, 1):
        bench.desk.emit(Finished(trial_id, 1, ()))
    assert bench.take() == [2]


def test_a_trial_that_has_failed_before_trains_alone() -> None:
    bench = Bench(
        assignment(1, failures=1), assignment(2), assignment(3, failures=1), assignment(4)
    )
    assert [bench.take() for _ in range(3)] == [[1], [2, 4], [3]]


def test_trials_that_measure_or_clip_logits_train_alone() -> None:
    variants: list[dict[str, Any]] = [{"qk_clip": 100.0}, {"measure_max_logit": True}]
    for options in variants:
        spec = trial(replace(MUON, **options), horizon=LONG)
        bench = Bench(*(assignment(i, replace(spec, seed=i)) for i in range(3)))
        assert [bench.take() for _ in range(3)] == [[0], [1], [2]]
        assert bench.measured == []


@pytest.mark.parametrize("measure", ["coordinates", "time"])
def test_trials_that_measure_coordinates_or_time_train_alone(
    measure: Literal["coordinates", "time"],
) -> None:
    bench = Bench(
        *(
            assignment(seed, replace(trial(horizon=LONG, seed=seed), measure=measure))
            for seed in range(2)
        )
    )
    assert bench.take() == [0]
    assert bench.measured == []


def test_a_pack_is_of_one_job_and_jobs_take_turns() -> None:
    bench = Bench(
        *(assignment(i, job="a") for i in range(4)),
        *(assignment(4 + i, job="b") for i in range(2)),
        best=2,
    )
    assert [bench.take() for _ in range(3)] == [[0, 1], [4, 5], [2, 3]]


def test_nothing_is_measured_if_the_share_of_a_worker_is_one_trial() -> None:
    short = trial(horizon=replace(HORIZON, steps=REPAID_STEPS - 1))
    bench = Bench(*(assignment(i, replace(short, seed=i)) for i in range(4)), workers=4)
    assert bench.take() == [0]
    assert bench.measured == []


def test_compilation_is_considered_for_a_single_long_trial() -> None:
    bench = Bench(assignment(1))
    bench.take()
    assert len(bench.measured) == 1


def test_compilation_is_considered_again_once_enough_steps_are_queued() -> None:
    queued_steps: list[float] = []

    def measure(first: Assignment, most: int, steps: float) -> Program:
        queued_steps.append(steps)
        return (
            Program(1, repaid_steps=4 * REPAID_STEPS)
            if steps < 4 * REPAID_STEPS
            else Program(1, compiled=True)
        )

    bench = Bench(*map(assignment, range(3)))
    assert [bench.packs.take(0, measure).compiled for _ in range(3)] == [False] * 3
    specs = [
        replace(trial(optimizer, horizon=LONG), seed=i)
        for i, optimizer in enumerate((MUON, ADAMW, MUON, ADAMW))
    ]
    bench.desk.submit(*(assignment(3 + i, spec) for i, spec in enumerate(specs)))
    taken = [bench.packs.take(0, measure) for _ in range(4)]
    assert [pack.assignments[0].trial_id for pack in taken] == [3, 4, 5, 6]
    # by shape; too few steps were left for the second shape
    assert [pack.compiled for pack in taken] == [True, False, True, False]
    assert queued_steps == [3 * REPAID_STEPS, 4 * REPAID_STEPS, 3 * REPAID_STEPS]


def test_a_graph_that_one_optimizer_compiled_is_considered_for_the_other() -> None:
    def measure(first: Assignment, most: int, steps: float) -> Program:
        measured_optimizers.append(first.spec.optimizer.name)
        return Program(compiled=True) if len(measured_optimizers) > 1 else Program(repaid_steps=1e9)

    measured_optimizers: list[str] = []
    specs = [
        replace(trial(optimizer, horizon=LONG), seed=i)
        for i, optimizer in enumerate((MUON, ADAMW, MUON, MUON))
    ]
    bench = Bench(*(assignment(i, spec) for i, spec in enumerate(specs)))
    assert [bench.packs.take(0, measure).compiled for _ in specs] == [False, True, True, True]
    assert measured_optimizers == ["muon", "adamw", "muon"]


def test_trials_taken_during_a_measurement_reduce_the_share() -> None:
    bench = Bench(*map(assignment, range(8)), workers=2)

    def measure(first: Assignment, most: int, steps: float) -> Program:
        for trial_id in (1, 2, 3):
            bench.desk.take(0)
            bench.desk.emit(Finished(trial_id, 1, ()))
        return Program(8)

    assert len(bench.packs.take(0, measure).assignments) == 3  # of the five that are left


def test_an_abandoned_measurement_is_repeated() -> None:
    def measure(first: Assignment, most: int, steps: float) -> Program:
        raise MeasurementAbandoned

    bench = Bench(*map(assignment, range(3)))
    assert len(bench.packs.take(0, measure).assignments) == 1
    assert len(bench.take()) == 2


def test_steps_of_trials_that_cannot_be_compiled_do_not_count() -> None:
    queued_steps: list[float] = []
    checks = replace(trial(horizon=LONG), measure="coordinates")
    bench = Bench(assignment(1), assignment(2, failures=1), assignment(3, checks))
    bench.packs.take(0, lambda first, most, steps: queued_steps.append(steps) or Program())  # type: ignore[func-returns-value]
    assert queued_steps == [REPAID_STEPS]


def test_a_pack_that_broke_is_not_measured_again() -> None:
    bench = Bench(*map(assignment, range(9)))
    pack = bench.packs.take(0, lambda first, most, steps: Program(8, repaid_steps=9 * REPAID_STEPS))
    bench.packs.record_failure(pack)
    bench.desk.submit(*(assignment(10 + i) for i in range(12)))
    assert [len(bench.take()) for _ in range(2)] == [4, 4]


def test_a_branch_counts_with_its_own_steps_only() -> None:
    queued_steps: list[float] = []
    branches = [
        replace(trial(horizon=LONG, seed=i), branch=Branch(trunk="0" * 32, step=REPAID_STEPS - 100))
        for i in range(12)
    ]
    bench = Bench(*(assignment(i, spec) for i, spec in enumerate(branches)))
    bench.packs.take(0, lambda first, most, steps: queued_steps.append(steps) or Program())  # type: ignore[func-returns-value]
    assert queued_steps == [12 * 100]
    bench = Bench(*(assignment(i, spec) for i, spec in enumerate(branches[:9])))
    bench.take()
    assert bench.measured == []


def test_a_worker_considers_compilation_for_its_share_of_the_steps() -> None:
    queued_steps: list[float] = []
    bench = Bench(*map(assignment, range(6)), workers=3)
    bench.packs.take(0, lambda first, most, steps: queued_steps.append(steps) or Program())  # type: ignore[func-returns-value]
    assert queued_steps == [2 * REPAID_STEPS]


def test_a_trial_that_was_paused_is_packed_and_compiled_like_others() -> None:
    bench = Bench(assignment(1, attempt=2), assignment(2), assignment(3, attempt=3), best=4)
    assert bench.take() == [1, 2, 3]
    bench = Bench(assignment(1, attempt=2))
    assert bench.packs.take(0, lambda first, most, steps: Program(compiled=True)).compiled


def test_a_trial_that_has_failed_before_is_not_compiled() -> None:
    bench = Bench(assignment(1), assignment(2, failures=1))
    taken = [
        bench.packs.take(0, lambda first, most, steps: Program(compiled=True)) for _ in range(2)
    ]
    assert [pack.compiled for pack in taken] == [True, False]


def test_after_a_compiled_trial_broke_the_next_ones_are_not_compiled() -> None:
    bench = Bench(assignment(1), assignment(2))
    pack = bench.packs.take(0, lambda first, most, steps: Program(compiled=True))
    bench.packs.record_failure(pack)
    assert not bench.packs.take(0, bench.measure).compiled
    assert bench.measured == []


def test_a_pack_that_broke_makes_the_next_ones_smaller() -> None:
    bench = Bench(*map(assignment, range(12)))
    assert len(bench.take()) == 8
    bench.packs.record_failure(Pack(tuple(map(assignment, range(8)))))
    assert len(bench.take()) == 4
    bench.packs.record_failure(Pack((assignment(20),)))
    assert len(bench.measured) == 1


def test_while_one_worker_measures_another_takes_a_single_trial() -> None:
    bench = Bench(*map(assignment, range(9)))
    other_packs: list[list[int]] = []
    bench.measure = lambda first, most, steps: other_packs.append(bench.take()) or Program(2)  # type: ignore[func-returns-value]
    assert bench.take() == [0, 2]
    assert other_packs == [[1]]


def test_trials_of_a_dead_worker_come_next_or_end_if_they_were_to_stop() -> None:
    bench = Bench(*map(assignment, range(4)), best=2)
    taken = bench.packs.take(0, bench.measure).assignments
    bench.desk.stop(0)
    bench.desk.give_back(taken)
    assert bench.desk.events(0) == [Stopped(0, 1)]
    assert [assignment.trial_id for assignment in bench.desk.waiting()] == [1, 2, 3]


def test_packs_of_little_work_are_not_measured() -> None:
    short = replace(HORIZON, steps=REPAID_STEPS // 2 - 1)
    bench = Bench(*(assignment(seed, trial(horizon=short, seed=seed)) for seed in range(2)))
    assert bench.take() == [0]
    assert bench.measured == []


def test_a_measurement_that_fails_is_logged_and_not_repeated(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench(*map(assignment, range(3)))
    bench.measure = lambda first, most, steps: 1 // 0  # type: ignore[method-assign]
    assert bench.take() == [0]
    assert "trials train alone, since packs could not be measured" in caplog.text
    caplog.clear()
    assert bench.take() == [1]
    assert caplog.text == ""
