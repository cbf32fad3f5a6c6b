"""The planner, which inserts the trials that a job needs next and makes the job's reports.

The study of a job answers a question from trials, which are training runs. A study plans its trials
in stages: all trials of a stage are planned together. A plan is a pure function of the study and
its trials, and all trials are in the database. A planner therefore keeps no state except a cache of
the parsed studies of the running jobs.
"""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from api.job_states import JobState
from api.store.record import CoordinatorStore
from api.store.rows import JobRow, TrialFilter
from telescope.errors import Unavailable
from telescope.studies import registry
from telescope.studies.kind import AnyStudy, EndCause, Ended
from telescope.trials.outcome import Trial, TrialState

log = logging.getLogger("telescope.coordinator")
OUT_OF_TIME = Ended(EndCause.OUT_OF_TIME)


@dataclass(frozen=True)
class End:
    """The end of a job: the state that it ends in, the reason, and the final report."""

    state: JobState
    reason: str | None
    result: dict[str, Any] | None = None  # None leaves the stored report as it is


@dataclass(frozen=True)
class PlanOutcome:
    """The outcome of one plan of a job."""

    new: int = 0  # number of trials inserted
    reused: int = 0  # number of trials that got their outcome from another job
    trials_to_report: tuple[Trial, ...] = ()  # trials of the interim report; empty if none is due
    end: End | None = None  # None while the job continues


class Planner:
    """Plans the running jobs of one database."""

    def __init__(self, record: CoordinatorStore) -> None:
        self._record = record
        self._studies: dict[str, AnyStudy] = {}

    def forget(self, job_id: str) -> None:
        """Drop the study of a job that no longer runs."""
        self._studies.pop(job_id, None)

    def plan(self, job: JobRow, numerics: str | None, held: Collection[int]) -> PlanOutcome:
        """Insert the trials that a job's study needs now.

        If a trial has failed or the study is done, no trial is inserted, and the outcome states how
        the job ends. A job that is out of time gets no more trials, and ends once the stages that
        have begun are complete.

        If the study permits reuse, a pending trial gets the outcome of an equal trial that another
        job trained with the same `numerics` (device and software). Pending trials on which FLOPs
        were already spent, and trials in `held`, which the executor holds, get no such outcome.
        """
        study = self._study(job.id)
        trials = self._record.terminal_trials(job.id)
        if any(trial.state is TrialState.FAILED for trial in trials):
            return PlanOutcome(end=End(JobState.FAILED, self._failure_reason(job.id)))
        plan = study.plan(trials)
        if plan.done:
            report = self._report(job.id, study, trials)
            return PlanOutcome(end=End(JobState.SUCCEEDED, report.get("reason"), report))
        present = self._record.trial_digests(job.id)
        new = tuple(planned for planned in plan.trials if planned.spec.digest not in present)
        if out_of_time(job):
            if len(new) < len(plan.trials):  # a stage that has begun is still completed
                return PlanOutcome()
            report = self._report(job.id, study, trials, OUT_OF_TIME)
            return PlanOutcome(end=End(JobState.SUCCEEDED, str(OUT_OF_TIME), report))
        if not plan.trials:
            raise RuntimeError("the plan is not done, but contains no trials")
        if new:
            self._record.plan_trials(job.id, new)
            log.info("job %s: %d trials planned", job.id, len(new))
        reused = self._reuse(job.id, numerics, held) if numerics and study.question.reuse else 0
        return PlanOutcome(len(new), reused, tuple(trials) if new else ())

    def report(self, job_id: str, trials: Sequence[Trial]) -> dict[str, Any]:
        """Make the interim report of a running job from its terminal trials."""
        return self._report(job_id, self._study(job_id), trials)

    def summary(self, job_id: str, ended: Ended | None = None) -> dict[str, Any] | None:
        """Make the report of a job from its completed trials.

        `ended` states why the job ended early, if it did. Return None if the study raises an
        exception. Raises Unavailable if the database cannot be reached.
        """
        try:
            study = registry.parse(self._record.study_document(job_id))
            trials = self._record.terminal_trials(job_id, outlines=study.kind.reads_curves)
            completed = [trial for trial in trials if trial.state is TrialState.COMPLETED]
            return registry.report_document(study.report(completed, ended))
        except Unavailable:
            raise
        except Exception:
            log.exception("the study of job %s raised an exception in its report", job_id)
            return None

    def _study(self, job_id: str) -> AnyStudy:
        if job_id not in self._studies:
            self._studies[job_id] = registry.parse(self._record.study_document(job_id))
        return self._studies[job_id]

    def _report(
        self, job_id: str, study: AnyStudy, trials: Sequence[Trial], ended: Ended | None = None
    ) -> dict[str, Any]:
        """Make the report of a study from its terminal trials.

        Some kinds of study need outlines, which are shortened curves, for reports. For these kinds,
        the trials are read again with their outlines, since trials for plans have none.
        """
        if study.kind.reads_curves:
            trials = self._record.terminal_trials(job_id, outlines=True)
        return registry.report_document(study.report(trials, ended))

    def _reuse(self, job_id: str, numerics: str, held: Collection[int]) -> int:
        """Complete pending trials with the outcomes of equal trials of other jobs.

        Return the number of trials that are completed in this way.
        """
        reused = self._record.reuse_trials(job_id, numerics, list(held))
        if reused:
            log.info("job %s: %d trials reused from other jobs", job_id, reused)
        return reused

    def _failure_reason(self, job_id: str) -> str:
        """Describe the failed trial because of which a job fails."""
        row = self._record.trials(job_id, 1, only=TrialFilter(state=TrialState.FAILED)).items[0]
        times = "" if row.failures == 1 else f" {row.failures} times; the last failure"
        summary = (row.failure_message or "").partition("\n")[0]
        return f"trial {row.id} (width {row.width}, lr {row.lr:g}) failed{times}: {summary}"


def out_of_time(job: JobRow) -> bool:
    """True if a job has run for longer than its `max_seconds`."""
    if job.max_seconds is None or job.running_since is None:
        return False
    running = (datetime.now(UTC) - job.running_since).total_seconds()
    return job.running_seconds + running > job.max_seconds
