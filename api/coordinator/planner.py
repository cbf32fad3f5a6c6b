"""The planner: from a job's study and its ended trials to rows of new trials, and to reports.

A plan is a pure function of a study's trials, so a planner keeps nothing that could not be read again.
"""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from api.job_states import JobState
from api.store.record import Record
from api.store.rows import JobRow, TrialFilter
from telescope.errors import Unavailable
from telescope.studies import registry
from telescope.studies.kind import AnyStudy, EndCause, Ended
from telescope.trials.outcome import Trial, TrialState

log = logging.getLogger("telescope.coordinator")
OUT_OF_TIME = Ended(EndCause.OUT_OF_TIME)


@dataclass(frozen=True)
class End:
    """How a job ends, and with which report."""

    state: JobState
    reason: str | None
    result: dict[str, Any] | None = None


@dataclass(frozen=True)
class Step:
    """What one plan of a job came to."""

    new: int = 0  # trials entered
    reused: int = 0  # of the trials that wait, those that other jobs had trained
    due: tuple[Trial, ...] = ()  # trials on which a report is due, since a stage was decided
    end: End | None = None


class Planner:
    """Plans the running jobs of one database."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._studies: dict[str, AnyStudy] = {}

    def forget(self, job_id: str) -> None:
        """Drop the study of a job that no longer runs."""
        self._studies.pop(job_id, None)

    def plan(self, job: JobRow, numerics: str | None, held: Collection[int]) -> Step:
        """Enter what a job's study needs now.

        Of the trials that wait, those that other jobs trained with equal `numerics` are taken over, unless the executor holds them.
        """
        study = self._study(job.id)
        trials = self._record.terminal_trials(job.id)
        if any(trial.state is TrialState.FAILED for trial in trials):
            return Step(end=End(JobState.FAILED, self._blame(job.id)))
        plan = study.plan(trials)
        if plan.done:
            report = self._report(job.id, study, trials)
            return Step(end=End(JobState.SUCCEEDED, report.get("reason"), report))
        known = self._record.known_digests(job.id)
        new = tuple(planned for planned in plan.trials if planned.spec.digest not in known)
        if out_of_time(job):
            if len(new) < len(plan.trials):  # stages that were begun are decided first
                return Step()
            return Step(end=End(JobState.SUCCEEDED, str(OUT_OF_TIME), self._report(job.id, study, trials, OUT_OF_TIME)))
        if not plan.trials:
            raise RuntimeError("its plan is not done and starts nothing")
        if new:
            self._record.plan_trials(job.id, new)
            log.info("job %s: %d trials planned", job.id, len(new))
        reused = self._reuse(job.id, numerics, held) if numerics and study.question.reuse else 0
        return Step(len(new), reused, due=tuple(trials) if new else ())

    def report(self, job_id: str, trials: Sequence[Trial]) -> dict[str, Any]:
        """The interim report on a running job's trials."""
        return self._report(job_id, self._study(job_id), trials)

    def summary(self, job_id: str, ended: Ended | None = None) -> dict[str, Any] | None:
        """The report on a job's completed trials; None where its study has none."""
        try:
            study = registry.parse(self._record.study_document(job_id))
            trials = self._record.terminal_trials(job_id, outlines=study.kind.reads_curves)
            done = [trial for trial in trials if trial.state is TrialState.COMPLETED]
            return registry.report_document(study.report(done, ended))
        except Unavailable:
            raise
        except Exception:
            log.exception("the study of job %s has no report", job_id)
            return None

    def _study(self, job_id: str) -> AnyStudy:
        if job_id not in self._studies:
            self._studies[job_id] = registry.parse(self._record.study_document(job_id))
        return self._studies[job_id]

    def _report(self, job_id: str, study: AnyStudy, trials: Sequence[Trial], ended: Ended | None = None) -> dict[str, Any]:
        """The report on the trials that a plan was made of; outlines are read here, where the study reads them: plans are more frequent."""
        if study.kind.reads_curves:
            trials = self._record.terminal_trials(job_id, outlines=True)
        return registry.report_document(study.report(trials, ended))

    def _reuse(self, job_id: str, numerics: str, held: Collection[int]) -> int:
        """Take over what other jobs have trained; how many trials."""
        reused = self._record.reuse_trials(job_id, numerics, list(held))
        if reused:
            log.info("job %s: %d trials had been trained by other jobs", job_id, reused)
        return reused

    def _blame(self, job_id: str) -> str:
        """The reason of a job that a failed trial ends."""
        row = self._record.trials(job_id, 1, only=TrialFilter(state=TrialState.FAILED)).items[0]
        times = "" if row.failures == 1 else f" {row.failures} times, at last"
        summary = (row.failure_message or "").partition("\n")[0]
        return f"trial {row.id} (width {row.width}, lr {row.lr:g}) failed{times}: {summary}"


def out_of_time(job: JobRow) -> bool:
    """Whether a job has run for longer than its limit."""
    if job.max_seconds is None or job.running_since is None:
        return False
    return job.running_seconds + (datetime.now(UTC) - job.running_since).total_seconds() > job.max_seconds
