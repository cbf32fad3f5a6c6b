"""The fold of a compute-time study: its searches and courses replayed over the completed trials.

Each optimizer and batch needs hyperparameters (tuned here, or given), then a course of runs for
each seed, and a short run alone on a worker that times a step. Batches do not wait for each other,
only for the searches that give their hyperparameters.

Parts: `TuningSearch` · `BatchProgress`, an optimizer at a batch so far · `StudyProgress`,
`progress`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from telescope.errors import InvalidInput
from telescope.studies.compute_time.question import Question
from telescope.studies.compute_time.reasons import Marked
from telescope.studies.compute_time.runs import Course, Setting, course, horizon_of
from telescope.studies.compute_time.tuning import (
    Candidates,
    Known,
    Searching,
    Tuned,
    neighbours,
    setting_at,
    tuned,
)
from telescope.studies.kind import Label, Planned
from telescope.trials.optimizer import OptimizerOptions, OptimizerSpec
from telescope.trials.outcome import Trial, TrialState
from telescope.trials.spec import TrialSpec
from telescope.trials.types import OptimizerName

TIMED_STEPS = 30


@dataclasses.dataclass(frozen=True)
class TuningSearch:
    """The search for an optimizer's hyperparameters at a batch."""

    optimizer: OptimizerName
    tuned: Tuned


@dataclasses.dataclass(frozen=True)
class BatchProgress:
    """An optimizer at a batch so far; without a setting until its hyperparameters are known."""

    optimizer: OptimizerName
    batch_tokens: int
    setting: Setting | None
    courses: tuple[Course, ...]  # one per seed
    timed: Trial | None
    missing: tuple[TrialSpec, ...]


@dataclasses.dataclass(frozen=True)
class StudyProgress:
    """The progress of a study: all searches and all batches, by optimizer and batch."""

    searches: tuple[TuningSearch, ...]
    batches: tuple[BatchProgress, ...]

    @property
    def missing(self) -> tuple[Planned, ...]:
        """The missing runs of the current stages, each once."""
        searched = [
            Planned(spec, Label(one.optimizer, "tuning"))
            for one in self.searches
            for spec in one.tuned.missing
        ]
        trained = [
            Planned(spec, Label(one.optimizer, stage_of(spec)))
            for one in self.batches
            for spec in one.missing
        ]
        return tuple({planned.spec.digest: planned for planned in searched + trained}.values())


def stage_of(spec: TrialSpec) -> str:
    """The stage of a run with known hyperparameters: `runs` of a course, or `timing` of a step."""
    return "timing" if spec.measure == "time" else "runs"


def progress(question: Question, trials: Sequence[Trial]) -> StudyProgress:
    """Replay the study over the completed trials."""
    completed = {trial.digest: trial for trial in trials if trial.state is TrialState.COMPLETED}
    searches, batches = list[TuningSearch](), list[BatchProgress]()
    for optimizer in question.optimizers:
        ours = [
            TuningSearch(optimizer, searched(question, optimizer, batch, completed))
            for batch in question.tuned_batches
        ]
        searches += ours
        known = tuple(hyperparameters(question, optimizer, [one.tuned for one in ours]))
        batches += [
            at_batch(question, optimizer, batch, known, completed) for batch in question.batches
        ]
    return StudyProgress(tuple(searches), tuple(batches))


def searched(
    question: Question, optimizer: OptimizerName, batch_tokens: int, completed: Mapping[str, Trial]
) -> Tuned:
    """The search at one batch."""
    assert question.tuning is not None, "there are tuned batches only where there is tuning"
    return tuned(
        question.tuning, question.runs, candidates(question, optimizer), batch_tokens, completed
    )


def hyperparameters(
    question: Question, optimizer: OptimizerName, found: Sequence[Tuned]
) -> list[Known | Searching]:
    """Hyperparameters by batch in ascending order, known or being searched for."""
    given: list[Known | Searching] = [
        Known(
            one.batch_tokens,
            one.lr,
            one.weight_decay,
            "job" if one.job else "given",
            (Marked(mark=one.mark),) if one.mark else (),
        )
        for one in question.given
        if one.optimizer == optimizer
    ]
    ours = [one.known or Searching(one.batch_tokens) for one in found]
    return sorted(given + ours, key=lambda one: one.batch_tokens)


def at_batch(
    question: Question,
    optimizer: OptimizerName,
    batch_tokens: int,
    known: tuple[Known | Searching, ...],
    completed: Mapping[str, Trial],
) -> BatchProgress:
    """The progress of an optimizer at a batch."""
    if not known:
        remedy = "give some, or submit the study to a service, which takes them from its jobs"
        message = f"has hyperparameters for no batch; {remedy}"
        raise InvalidInput.of("given", message)
    near = [one for one in neighbours(batch_tokens, known) if not isinstance(one, Searching)]
    if len(near) < len(neighbours(batch_tokens, known)):
        return BatchProgress(
            optimizer, batch_tokens, setting=None, courses=(), timed=None, missing=()
        )
    setting = setting_of(question, optimizer, setting_at(batch_tokens, near))
    courses = tuple(
        course(question.runs, setting, seed, question.lowest, completed)
        for seed in range(question.seeds)
    )
    timing = timed_spec(question, setting)
    untimed = () if timing.digest in completed else (timing,)
    missing = tuple(spec for one in courses for spec in one.missing) + untimed
    return BatchProgress(
        optimizer, batch_tokens, setting, courses, completed.get(timing.digest), missing
    )


@lru_cache(maxsize=1024)
def candidates(question: Question, optimizer: OptimizerName) -> Candidates:
    """The study's optimizer, model and data, with learning rate and weight decay still open."""
    given: dict[str, Any] = {
        name: getattr(question.optimizer_options, name)
        for name in OptimizerOptions.__dataclass_fields__
    }
    if optimizer == "muon":
        given["adamw_lr_ratio"] = question.adamw_lr_ratio
    spec = OptimizerSpec(
        name=optimizer, lr=1.0, weight_decay=0.0, parametrisation=question.parametrisation, **given
    )
    return Candidates(spec, question.model.spec, question.data)


@lru_cache(maxsize=4096)
def setting_of(question: Question, optimizer: OptimizerName, known: Known) -> Setting:
    """The setting that the runs at a batch have in common."""
    base = candidates(question, optimizer)
    chosen = replace(base.optimizer, lr=known.lr, weight_decay=known.weight_decay)
    return Setting(chosen, base.model, base.data, known.batch_tokens, known.source, known.doubts)


@lru_cache(maxsize=4096)
def timed_spec(question: Question, setting: Setting) -> TrialSpec:
    """The run that times a step."""
    horizon = horizon_of(question.runs, setting.batch_tokens, TIMED_STEPS, "constant")
    return TrialSpec(
        model=setting.model,
        optimizer=setting.optimizer,
        data=setting.data,
        horizon=horizon,
        measure="time",
    )
