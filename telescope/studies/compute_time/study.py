"""What does a compute-time study ask, and which runs does it still lack?

Per optimizer and batch: hyperparameters (searched for here, or given), then a course of runs for each seed, and one short run alone on a
worker that times a step. Batches do not wait for each other, but for the searches that their hyperparameters are drawn from.

Parts: `ComputeTime`, the question · `AtBatch`, one optimizer at one batch so far · `progress`, the fold.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from functools import lru_cache
from typing import Any, ClassVar, Literal

from pydantic.dataclasses import dataclass

from telescope.errors import InvalidInput
from telescope.spec import STRICT, Count, DataSpec, OptimizerName, OptimizerOptions, OptimizerSpec, Parametrisation, Positive, TrialSpec
from telescope.studies import Plan
from telescope.studies.compute_time import report
from telescope.studies.compute_time.question import BatchLimits, BatchModel, Devices, Doublings, FromJobs, Given, Runs, Tuning, ascending
from telescope.studies.compute_time.runs import Course, Setting, course, horizon_of
from telescope.studies.compute_time.tuning import Candidates, Known, Tuned, neighbours, setting_at, tuned
from telescope.trial import Trial, TrialState

TIMED_STEPS = 30


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ComputeTime:
    """The compute-time study; see the package's text."""

    Report: ClassVar[type] = report.Comparison
    reads_curves: ClassVar[bool] = True

    kind: Literal["compute_time"] = "compute_time"
    name: str = "compute_time"
    optimizer: OptimizerName | tuple[OptimizerName, ...] = ("muon", "adamw")
    adamw_lr_ratio: Positive = 0.5
    parametrisation: Parametrisation = "mup"
    optimizer_options: OptimizerOptions = field(default_factory=OptimizerOptions)
    model: BatchModel
    data: DataSpec
    batch_tokens: tuple[Count, ...] | Doublings
    """Batch sizes, listed, or from `low` to `high` by doublings."""
    target_losses: tuple[Positive, ...] = ()
    """Held-out losses to be reached; the report answers to each, and runs end below the lowest. Others can be asked for afterwards. Without
    any, each run is as long as `runs.tokens`."""
    runs: Runs
    tuning: Tuning | None = None
    """Search for the hyperparameters here; or give them, or name the jobs that found them."""
    given: tuple[Given, ...] = ()
    from_jobs: FromJobs | None = None
    seeds: Count = 2
    """Runs per optimizer and batch, with the same seeds and so the same data for both optimizers; intervals need two at least."""
    devices: Devices = field(default_factory=Devices)
    limits: BatchLimits = field(default_factory=BatchLimits)
    reuse: bool = True
    """Take over finished runs of other jobs that are the same in every respect, instead of training them again; they cost nothing."""

    @property
    def optimizers(self) -> tuple[OptimizerName, ...]:
        """Those to compare."""
        return (self.optimizer,) if isinstance(self.optimizer, str) else self.optimizer

    @property
    def batches(self) -> tuple[int, ...]:
        """Batch sizes in tokens, in ascending order."""
        return ascending(self.batch_tokens)

    @property
    def lowest(self) -> float | None:
        """The lowest target loss."""
        return min(self.target_losses, default=None)

    @property
    def tuned_batches(self) -> tuple[int, ...]:
        """Those at which hyperparameters are searched for."""
        return () if self.tuning is None else tuple(sorted(self.tuning.batch_tokens)) or self.batches

    def plan(self, trials: Sequence[Trial]) -> Plan:
        """The runs that the current stages lack."""
        found = progress(self, trials)
        return Plan(found.missing, not found.missing)

    def report(self, trials: Sequence[Trial], ended: str = "") -> report.Comparison:
        """The answer so far; `ended` is a reason such as limit:max_seconds for which no further trial will run."""
        from telescope.studies.compute_time.answer import answer  # which replays the fold below

        return answer(self, trials, ended)


@dataclasses.dataclass(frozen=True)
class Search:
    """The search of one optimizer at one batch."""

    optimizer: OptimizerName
    tuned: Tuned


@dataclasses.dataclass(frozen=True)
class AtBatch:
    """One optimizer at one batch, so far; without a setting until its hyperparameters are known."""

    optimizer: OptimizerName
    batch_tokens: int
    setting: Setting | None
    courses: tuple[Course, ...]  # one per seed
    timed: Trial | None
    missing: tuple[TrialSpec, ...]


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a study has come: all searches, and all batches, by optimizer and batch."""

    searches: tuple[Search, ...]
    batches: tuple[AtBatch, ...]

    @property
    def missing(self) -> tuple[TrialSpec, ...]:
        """Runs of the current stages, each once."""
        searched = {spec.digest: spec for one in self.searches for spec in one.tuned.missing}
        return tuple((searched | {spec.digest: spec for one in self.batches for spec in one.missing}).values())


def progress(study: ComputeTime, trials: Sequence[Trial]) -> Progress:
    """Replay the study over the completed trials."""
    completed = {trial.digest: trial for trial in trials if trial.state is TrialState.COMPLETED}
    searches, batches = list[Search](), list[AtBatch]()
    for optimizer in study.optimizers:
        ours = [Search(optimizer, searched(study, optimizer, batch, completed)) for batch in study.tuned_batches]
        searches += ours
        known = tuple(hyperparameters(study, optimizer, [one.tuned for one in ours]))
        batches += [at_batch(study, optimizer, batch, known, completed) for batch in study.batches]
    return Progress(tuple(searches), tuple(batches))


def searched(study: ComputeTime, optimizer: OptimizerName, batch_tokens: int, completed: Mapping[str, Trial]) -> Tuned:
    """The search at one batch."""
    assert study.tuning is not None, "there are tuned batches only where there is tuning"
    return tuned(study.tuning, study.runs, candidates(study, optimizer), batch_tokens, completed)


def hyperparameters(study: ComputeTime, optimizer: OptimizerName, found: Sequence[Tuned]) -> list[Known]:
    """What is known at some batches, in ascending order; a batch whose search goes on is there without numbers."""
    given = [
        Known(one.batch_tokens, one.lr, one.weight_decay, "job" if one.job else "given", one.mark)
        for one in study.given
        if one.optimizer == optimizer
    ]
    ours = [Known(one.batch_tokens, 0.0 if one.missing else one.lr, one.weight_decay, "tuned", one.doubt) for one in found]
    return sorted(given + ours, key=lambda one: one.batch_tokens)


def at_batch(
    study: ComputeTime, optimizer: OptimizerName, batch_tokens: int, known: tuple[Known, ...], completed: Mapping[str, Trial]
) -> AtBatch:
    """One optimizer at one batch, where the hyperparameters that it needs are known."""
    if not known:
        message = "has hyperparameters for no batch; hand the study to a service, which draws them from its jobs, or give some"
        raise InvalidInput.of("given", message)
    near = neighbours(batch_tokens, known)
    if any(one.lr == 0.0 for one in near):
        return AtBatch(optimizer, batch_tokens, None, (), None, ())
    setting = setting_of(study, optimizer, setting_at(batch_tokens, near))
    courses = tuple(course(study.runs, setting, seed, study.lowest, completed) for seed in range(study.seeds))
    timing = timed_spec(study, setting)
    untimed = () if timing.digest in completed else (timing,)
    missing = tuple(spec for one in courses for spec in one.missing) + untimed
    return AtBatch(optimizer, batch_tokens, setting, courses, completed.get(timing.digest), missing)


@lru_cache(maxsize=1024)
def candidates(study: ComputeTime, optimizer: OptimizerName) -> Candidates:
    """The optimizer as the study has it, but for what is searched for."""
    given: dict[str, Any] = {name: getattr(study.optimizer_options, name) for name in OptimizerOptions.__dataclass_fields__}
    if optimizer == "muon":
        given["adamw_lr_ratio"] = study.adamw_lr_ratio
    spec = OptimizerSpec(name=optimizer, lr=1.0, weight_decay=0.0, parametrisation=study.parametrisation, **given)
    return Candidates(spec, study.model.spec, study.data)


@lru_cache(maxsize=4096)
def setting_of(study: ComputeTime, optimizer: OptimizerName, known: Known) -> Setting:
    """What the runs at one batch have in common."""
    base = candidates(study, optimizer)
    chosen = replace(base.optimizer, lr=known.lr, weight_decay=known.weight_decay)
    return Setting(chosen, base.model, base.data, known.batch_tokens, known.source, known.doubt)


@lru_cache(maxsize=4096)
def timed_spec(study: ComputeTime, setting: Setting) -> TrialSpec:
    """The run that times a step."""
    horizon = horizon_of(study.runs, setting.batch_tokens, TIMED_STEPS, "constant")
    return TrialSpec(model=setting.model, optimizer=setting.optimizer, data=setting.data, horizon=horizon, measure="time")
