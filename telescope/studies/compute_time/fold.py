"""The state of a compute-time study, computed from its completed trials.

At each batch size, an optimizer first needs hyperparameters. They are given in the document, found
by a search of this study, or derived from the hyperparameters at neighbouring batch sizes. Then the
optimizer needs a *course* for each seed: runs that together give one curve of loss against tokens.
It also needs one short run that has a worker to itself and times a step. The runs at a batch size
wait only for the searches that the hyperparameters of these runs come from.

Parts: `TuningSearch` · `BatchProgress` · `StudyProgress` · `progress` · `candidates`, `setting_of`,
`timed_spec`, the specifications of runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from telescope.errors import InvalidInput
from telescope.studies.compute_time.question import Question
from telescope.studies.compute_time.reasons import Reservation
from telescope.studies.compute_time.runs import Course, RunSetting, course, horizon_of
from telescope.studies.compute_time.tuning import (
    BatchHyperparameters,
    Candidates,
    PendingSearch,
    SearchProgress,
    hyperparameters_at,
    neighbours,
    search_progress,
)
from telescope.studies.kind import Label, Planned
from telescope.trials.optimizer import OptimizerOptions, OptimizerSpec
from telescope.trials.outcome import Trial, TrialState
from telescope.trials.spec import TrialSpec
from telescope.trials.types import OptimizerName

TIMED_STEPS = 30  # number of steps of the run that times a step


@dataclass(frozen=True)
class TuningSearch:
    """The search for an optimizer's hyperparameters at a batch."""

    optimizer: OptimizerName
    progress: SearchProgress


@dataclass(frozen=True)
class BatchProgress:
    """The runs of an optimizer at a batch so far."""

    optimizer: OptimizerName
    batch_tokens: int
    setting: RunSetting | None  # None until the hyperparameters are known
    courses: tuple[Course, ...]  # one per seed; empty without a setting
    timed: Trial | None  # the run that times a step; None until it is completed
    # runs of courses that can start now, and the run that times a step unless it is completed;
    # empty without a setting
    missing: tuple[TrialSpec, ...]


@dataclass(frozen=True)
class StudyProgress:
    """The progress of a study. Both fields are in the question's order of optimizers, then in
    ascending order of batch."""

    searches: tuple[TuningSearch, ...]
    batches: tuple[BatchProgress, ...]

    @property
    def missing(self) -> tuple[Planned, ...]:
        """All runs that can start now. A run that a search and a course share is listed once."""
        tuning = [
            Planned(spec, Label(search.optimizer, "tuning"))
            for search in self.searches
            for spec in search.progress.missing
        ]
        training = [
            Planned(spec, Label(batch.optimizer, stage_of(spec)))
            for batch in self.batches
            for spec in batch.missing
        ]
        return tuple({planned.spec.digest: planned for planned in tuning + training}.values())


def stage_of(spec: TrialSpec) -> str:
    """The name of a run's stage: `timing` for the run that times a step, `runs` for a run of a
    course."""
    return "timing" if spec.measure == "time" else "runs"


def progress(question: Question, trials: Sequence[Trial]) -> StudyProgress:
    """Compute the progress of a study from its completed trials. Other trials are ignored."""
    completed = {trial.digest: trial for trial in trials if trial.state is TrialState.COMPLETED}
    searches, batches = list[TuningSearch](), list[BatchProgress]()
    for optimizer in question.optimizers:
        own_searches = [
            TuningSearch(optimizer, search_at(question, optimizer, batch_tokens, completed))
            for batch_tokens in question.tuned_batches
        ]
        searches += own_searches
        entries = tuple(hyperparameters(question, optimizer, own_searches))
        batches += [
            progress_at(question, optimizer, batch_tokens, entries, completed)
            for batch_tokens in question.batches
        ]
    return StudyProgress(tuple(searches), tuple(batches))


def search_at(
    question: Question, optimizer: OptimizerName, batch_tokens: int, completed: Mapping[str, Trial]
) -> SearchProgress:
    """An optimizer's search at one batch so far."""
    assert question.tuning is not None, "only a study with tuning has tuned batches"
    base = candidates(question, optimizer)
    return search_progress(question.tuning, question.runs, base, batch_tokens, completed)


def hyperparameters(
    question: Question, optimizer: OptimizerName, searches: Sequence[TuningSearch]
) -> list[BatchHyperparameters | PendingSearch]:
    """An optimizer's hyperparameters at the batches where they are given or tuned, in ascending
    order of batch. A search that is not finished is a `PendingSearch`."""
    from_document: list[BatchHyperparameters | PendingSearch] = [
        BatchHyperparameters(
            batch_tokens=values.batch_tokens,
            lr=values.lr,
            weight_decay=values.weight_decay,
            source="job" if values.job else "given",
            doubts=(Reservation(mark=values.mark),) if values.mark else (),
        )
        for values in question.given
        if values.optimizer == optimizer
    ]
    from_searches = [
        search.progress.hyperparameters or PendingSearch(search.progress.batch_tokens)
        for search in searches
    ]
    return sorted(from_document + from_searches, key=lambda entry: entry.batch_tokens)


def progress_at(
    question: Question,
    optimizer: OptimizerName,
    batch_tokens: int,
    entries: tuple[BatchHyperparameters | PendingSearch, ...],
    completed: Mapping[str, Trial],
) -> BatchProgress:
    """The progress of an optimizer at a batch. `entries` are the optimizer's given and tuned
    hyperparameters at all batches.

    Raises InvalidInput if the optimizer has no hyperparameters at any batch.
    """
    if not entries:
        remedy = (
            "give some, or submit the study to a service, which takes them from the jobs in "
            "from_jobs"
        )
        message = f"has no hyperparameters for {optimizer}; {remedy}"
        raise InvalidInput.of("given", message)
    nearest = neighbours(batch_tokens, entries)
    known = [entry for entry in nearest if not isinstance(entry, PendingSearch)]
    if len(known) < len(nearest):
        return BatchProgress(
            optimizer, batch_tokens, setting=None, courses=(), timed=None, missing=()
        )
    setting = setting_of(question, optimizer, hyperparameters_at(batch_tokens, known))
    courses = tuple(
        course(question.runs, setting, seed, question.lowest, completed)
        for seed in range(question.seeds)
    )
    timing = timed_spec(question, setting)
    missing_timing = () if timing.digest in completed else (timing,)
    return BatchProgress(
        optimizer=optimizer,
        batch_tokens=batch_tokens,
        setting=setting,
        courses=courses,
        timed=completed.get(timing.digest),
        missing=tuple(spec for course in courses for spec in course.missing) + missing_timing,
    )


@lru_cache(maxsize=1024)
def candidates(question: Question, optimizer: OptimizerName) -> Candidates:
    """The specifications of optimizer, model and data for all runs with an optimizer. The learning
    rate and weight decay are placeholders."""
    options: dict[str, Any] = {
        name: getattr(question.optimizer_options, name)
        for name in OptimizerOptions.__dataclass_fields__
    }
    if optimizer == "muon":
        options["adamw_lr_ratio"] = question.adamw_lr_ratio
    spec = OptimizerSpec(
        name=optimizer,
        lr=1.0,
        weight_decay=0.0,
        parametrisation=question.parametrisation,
        **options,
    )
    return Candidates(spec, question.model.spec, question.data)


@lru_cache(maxsize=4096)
def setting_of(
    question: Question, optimizer: OptimizerName, values: BatchHyperparameters
) -> RunSetting:
    """The setting of an optimizer's runs at a batch, except the runs of searches."""
    base = candidates(question, optimizer)
    return RunSetting(
        optimizer=replace(base.optimizer, lr=values.lr, weight_decay=values.weight_decay),
        model=base.model,
        data=base.data,
        batch_tokens=values.batch_tokens,
        source=values.source,
        doubts=values.doubts,
    )


@lru_cache(maxsize=4096)
def timed_spec(question: Question, setting: RunSetting) -> TrialSpec:
    """The specification of the run that times a step."""
    horizon = horizon_of(question.runs, setting.batch_tokens, TIMED_STEPS, "constant")
    return TrialSpec(
        model=setting.model,
        optimizer=setting.optimizer,
        data=setting.data,
        horizon=horizon,
        measure="time",
    )
