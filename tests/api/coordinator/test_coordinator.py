"""The coordinator has the report of the plain loop, and deletes checkpoints at the right time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from api.job_states import JobState, Verb
from api.store.record import CoordinatorStore
from api.terminal.progress import job_progress
from telescope.studies import registry
from telescope.studies.kind import AnyStudy, Ended, Kind, Label, Plan, Planned
from telescope.train.branch import cooldown, extension
from telescope.train.checkpoint import kept_path
from telescope.train.flops import trial_flops
from telescope.train.loop import train_one
from telescope.trials.outcome import Trial, TrialState
from telescope.trials.spec import TrialSpec
from tests.api.coordinator.driving import ROBUST, Coordinate, document, drive, ended, expected
from tests.api.trials import DOCUMENT
from tests.executors import InstantExecutor
from tests.telescope import small
from workers.interface import Event, Finished, Started
from workers.local import LocalExecutor


@pytest.mark.parametrize("changes", [{}, ROBUST], ids=["paper", "robust with two ladders"])
def test_the_coordinator_has_the_report_of_the_plain_loop(
    record: CoordinatorStore, coordinate: Coordinate, changes: dict[str, Any]
) -> None:
    study = document(**changes)
    job, _ = record.create_job(study)
    executor = InstantExecutor(slots=5, seed=1)
    drive(coordinate(executor), ended(record, job.id))

    row, report = record.job(job.id), record.result(job.id)
    assert row.state is JobState.SUCCEEDED
    assert report == expected(study)
    assert row.trials_done == row.trials_total == len(executor.submitted)
    assert row.best_loss == min(
        trial.loss for trial in record.trials(job.id, 1000).items if trial.loss is not None
    )
    trial = record.trials(job.id, 1).items[0]
    assert trial.step == trial.steps
    assert trial.flops == trial.flops_spent == trial.steps * 1e9
    assert record.curve(trial.id).step == tuple(range(1, trial.steps + 1))
    assert any(trial.diverged for trial in record.terminal_trials(job.id)), "divergence is data"


def test_reports_before_the_end_are_not_final(
    record: CoordinatorStore, coordinate: Coordinate
) -> None:
    job, _ = record.create_job(document())
    coordinator = coordinate(InstantExecutor())
    drive(coordinator, lambda: record.result(job.id) is not None)
    report = record.result(job.id)
    assert report is not None
    assert report["final"] is False
    assert report["ladders"][0]["levels"][0]["width"] == 32
    drive(coordinator, ended(record, job.id))
    assert record.result(job.id) == expected(document())


def test_checkpoints_are_deleted_with_their_trials(
    record: CoordinatorStore, coordinate: Coordinate, tmp_path: Path
) -> None:
    job, _ = record.create_job(document())
    coordinator = coordinate(InstantExecutor())
    drive(coordinator, lambda: any(tmp_path.glob("checkpoints/*/*")))
    drive(coordinator, ended(record, job.id))
    assert list((tmp_path / "checkpoints").iterdir()) == []


class Local(LocalExecutor):
    """Really trains; after its first trial its room is 0 until a test changes that."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Event] = []

    def events(self, timeout: float) -> Sequence[Event]:
        events = super().events(timeout)
        self.heard += events
        if any(isinstance(event, Finished) for event in events):
            self.room = 0
        return events


@dataclass(frozen=True)
class Branching:
    """A question with a trunk and its branches."""

    trunk: TrialSpec
    branches: tuple[TrialSpec, ...]
    name: str = "branching"
    reuse: bool = False

    def plan(self, trials: Sequence[Trial]) -> Plan:
        ended = {trial.digest for trial in trials}
        start = self.branches if self.trunk.digest in ended else (self.trunk,)
        return Plan(
            tuple(Planned(spec, Label("adamw", "runs")) for spec in start),
            ended >= {spec.digest for spec in self.branches},
        )

    def report(self, trials: Sequence[Trial], ended: Ended | None = None) -> dict[str, Any]:
        return {"losses": {trial.digest: trial.loss for trial in trials}}

    @property
    def study(self) -> AnyStudy:
        kind: Kind[Any, Any, Any] = Kind(
            name="telescope",
            question=Branching,
            report=dict,
            preview=dict,
            problems=lambda question: (),
            plan=Branching.plan,
            answer=Branching.report,
            forecast=lambda question, machine: {},
        )
        return kind.of(self)


def branching() -> Branching:
    trunk = replace(
        small.trial(small.ADAMW, horizon=replace(small.HORIZON, decay="constant")),
        kept_steps=(8, 12),
    )
    return Branching(trunk, (cooldown(trunk, 8, 5), extension(trunk, 16)))


def test_the_stored_states_of_a_trunk_exist_until_its_job_ends(
    record: CoordinatorStore,
    coordinate: Coordinate,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study = branching()
    job, _ = record.create_job(DOCUMENT)
    monkeypatch.setattr(registry, "parse", lambda document: study.study)
    folder = tmp_path / "checkpoints" / job.id
    states = [kept_path(folder, study.trunk.digest, step) for step in (8, 12)]
    first = Local()
    drive(coordinate(first), lambda: record.job(job.id).trials_total == 3)
    first.close()
    assert sorted(folder.iterdir()) == sorted(states), "the ended trunk has no checkpoint"

    second = Local()
    second.room = 0
    coordinator = coordinate(second)
    record.request(job.id, Verb.PAUSE)
    drive(coordinator, lambda: record.job(job.id).state is JobState.PAUSED)
    record.request(job.id, Verb.RESUME)
    drive(coordinator, lambda: record.job(job.id).state is JobState.RUNNING)
    assert sorted(folder.iterdir()) == sorted(states)
    drive(coordinator, lambda: setattr(second, "room", 16) or ended(record, job.id)())  # type: ignore[func-returns-value]
    second.close()

    resumed_steps = [event.resumed_step for event in second.heard if isinstance(event, Started)]
    assert sorted(resumed_steps) == [8, 12]
    assert list((tmp_path / "checkpoints").iterdir()) == []
    report = record.result(job.id)
    assert report is not None
    rows = record.trials(job.id).items
    for spec, row in zip((study.trunk, *study.branches), rows, strict=True):
        points = list(train_one(spec))
        assert report["losses"][spec.digest] == row.loss == points[-1].metrics["loss"]
        assert record.curve(row.id).step == tuple(point.step for point in points)
        assert row.flops == row.flops_spent == trial_flops(spec)
        assert (row.step, row.steps) == (spec.horizon.steps, spec.horizon.steps)


def test_a_trial_that_stops_below_its_loss_is_completed_with_it(
    record: CoordinatorStore, coordinate: Coordinate, monkeypatch: pytest.MonkeyPatch
) -> None:
    easy = replace(small.HORIZON, evaluate_every=4, stop_below_loss=100.0)
    study = Branching(
        small.trial(small.ADAMW, horizon=easy), (small.trial(small.ADAMW, horizon=easy, seed=1),)
    )
    job, _ = record.create_job(DOCUMENT)
    monkeypatch.setattr(registry, "parse", lambda document: study.study)
    executor = LocalExecutor()
    drive(coordinate(executor), ended(record, job.id))
    executor.close()
    row, job_row = record.trials(job.id).items[0], record.job(job.id)
    *_, last = train_one(study.trunk)
    assert (row.state, row.step, row.steps) == (TrialState.COMPLETED, 4, 12)
    assert row.loss == last.metrics["loss"]
    assert row.flops == row.flops_spent == last.flops < trial_flops(study.trunk)
    view = job_progress(
        job_row, record.trials(job.id).items, datetime.now(UTC), 2 * trial_flops(study.trunk)
    )
    assert [(level.done, level.total) for level in view.levels] == [(2, 2)]
    assert [trial.failure for trial in record.terminal_trials(job.id)] == [None, None]
