"""Which hyperparameters should a model train with that is too large to sweep?

The telescoping study: sweep at a small width, narrow the search at each doubling, extrapolate to the target. A ladder per optimizer;
each ladder folds its schedule (`paper` or `robust`) over its finished trials, and ladders do not wait for each other.

Parts: `Telescope`, the question (its parts are in `question`, its checks in `checks`) · `ladders` · `progress`, the fold.
The answer is drawn in `answer`, the bill beforehand in `preview`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from functools import lru_cache
from typing import Any, ClassVar, Literal

from pydantic.dataclasses import dataclass

from telescope.spec import (
    STRICT,
    Count,
    DataSpec,
    HorizonSpec,
    OptimizerName,
    OptimizerOptions,
    OptimizerSpec,
    Parametrisation,
    Positive,
    TrialSpec,
    from_octaves,
)
from telescope.studies import Plan, paper, report, robust
from telescope.studies.ladder import Axis, AxisName, Done, Ladder, Outcome, Point, Stage
from telescope.studies.question import LadderModel, Limits, PaperOptions, Range, Search
from telescope.trial import Trial, TrialState


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Telescope:
    """The telescoping study; see the module's text."""

    Report: ClassVar[type] = report.Report

    kind: Literal["telescope"] = "telescope"
    name: str = "telescope"
    optimizer: OptimizerName | tuple[OptimizerName, ...] = "muon"
    adamw_lr_ratio: Positive = 0.5
    parametrisation: Parametrisation = "mup"
    optimizer_options: OptimizerOptions = field(default_factory=OptimizerOptions)
    model: LadderModel
    data: DataSpec
    horizon: HorizonSpec = field(default_factory=lambda: HorizonSpec(steps=120, batch_tokens=512))
    search: Search
    schedule: Literal["robust", "paper"] = "robust"
    paper: PaperOptions = field(default_factory=PaperOptions)
    seeds: Count = 1
    """Runs per point under `paper`; `robust` buys seeds itself, where they remove most doubt per cost."""
    limits: Limits = field(default_factory=Limits)

    @property
    def optimizers(self) -> tuple[OptimizerName, ...]:
        """One ladder each."""
        return (self.optimizer,) if isinstance(self.optimizer, str) else self.optimizer

    def spec(self, optimizer: OptimizerName, width: int, values: Mapping[AxisName, float], seed: int = 0) -> TrialSpec:
        """One run at a width: swept values where given, the study's fixed ones elsewhere."""
        return trial_spec(self, optimizer, width, tuple(sorted(values.items())), seed)

    def ladders(self) -> tuple[Ladder, ...]:
        """One per optimizer."""
        return ladders(self)

    def plan(self, trials: Sequence[Trial]) -> Plan:
        """The runs that the current stage of each ladder still lacks."""
        found = [progress(self, ladder, trials) for ladder in self.ladders()]
        return Plan(tuple(spec for one in found for spec in one.missing), all(one.ended for one in found))

    def report(self, trials: Sequence[Trial], ended: str = "") -> report.Report:
        """The answer so far; `ended` is a reason such as limit:max_seconds for which no further trial will run."""
        from telescope.studies.answer import answer  # which replays the fold below

        return answer(self, trials, ended)


@lru_cache(maxsize=65_536)
def trial_spec(study: Telescope, optimizer: OptimizerName, width: int, values: tuple[tuple[AxisName, float], ...], seed: int) -> TrialSpec:
    """See `Telescope.spec`; cached, since a plan is folded anew after every trial."""
    given: dict[str, Any] = dict(values)
    if not isinstance(study.search.weight_decay, Range):
        given.setdefault("weight_decay", study.search.weight_decay)
    if optimizer == "muon":
        given.setdefault("adamw_lr_ratio", study.adamw_lr_ratio)
    options: dict[str, Any] = {name: getattr(study.optimizer_options, name) for name in OptimizerOptions.__dataclass_fields__}
    return TrialSpec(
        model=study.model.at(width),
        optimizer=OptimizerSpec(
            name=optimizer,
            parametrisation=study.parametrisation,
            **given,
            **options,
        ),
        data=study.data,
        horizon=study.horizon,
        seed=seed,
    )


def ranges(study: Telescope, optimizer: OptimizerName) -> dict[AxisName, Range]:
    """What a ladder sweeps, learning rate first."""
    named: dict[AxisName, Range | float | None] = {"lr": study.search.lr, "weight_decay": study.search.weight_decay}
    if optimizer == "muon":
        named["adamw_lr_ratio"] = study.search.adamw_lr_ratio
    return {name: found for name, found in named.items() if isinstance(found, Range)}


@lru_cache(maxsize=256)
def ladders(study: Telescope) -> tuple[Ladder, ...]:
    """One ladder per optimizer, with the costs of its levels."""
    return tuple(_ladder(study, optimizer) for optimizer in study.optimizers)


def _ladder(study: Telescope, optimizer: OptimizerName) -> Ladder:
    from telescope.flops import trial_flops

    swept = ranges(study, optimizer)
    flops = [trial_flops(study.spec(optimizer, width, {name: r.low for name, r in swept.items()})) for width in study.model.widths]
    ladder = Ladder(
        optimizer=optimizer,
        widths=study.model.widths,
        target_width=study.model.target_width,
        axes=tuple(Axis.between(name, r.low, r.high, r.points, r.extend) for name, r in swept.items()),
        costs=tuple(cost / flops[0] for cost in flops),
        base_flops=flops[0],
        seeds=study.seeds,
    )
    if study.schedule == "paper":
        return ladder
    known = sum(ladder.costs[level] * runs for level, runs in enumerate(robust.forecast(ladder)))
    published = float(study.search.lr.points ** len(ladder.fitted) * ladder.levels)
    return replace(ladder, max_base_runs=study.limits.max_base_runs or max(published, 1.5 * known))


@lru_cache(maxsize=16_384)
def next_stage(schedule: str, rounding: paper.Rounding, ladder: Ladder, done: tuple[Done, ...]) -> Stage | None:
    """What the study's schedule plans after some stages."""
    return robust.next_stage(ladder, done) if schedule == "robust" else paper.next_stage(ladder, done, rounding)


@dataclass(frozen=True)
class Progress:
    """How far a ladder has come."""

    ladder: Ladder
    done: tuple[Done, ...]
    trials: tuple[tuple[Point, Trial], ...]  # of the finished stages and of the current one
    missing: tuple[TrialSpec, ...]  # of the current stage
    ended: bool
    limit: str = ""  # the limit that ended it


def progress(study: Telescope, ladder: Ladder, trials: Sequence[Trial]) -> Progress:
    """Replay a ladder's stages over the completed trials."""
    completed = {trial.digest: trial for trial in trials if trial.state is TrialState.COMPLETED}
    done: list[Done] = []
    counted: dict[Point, Trial] = {}
    while True:
        stage = next_stage(study.schedule, study.paper.points, ladder, tuple(done))
        limit = exceeded(study, ladder, [*counted, *stage.points]) if stage else ""
        if stage is None or limit:
            return Progress(ladder, tuple(done), tuple(counted.items()), (), True, limit)
        specs = {point: spec_of(study, ladder, point) for point in stage.points}
        ours = {point: completed[spec.digest] for point, spec in specs.items() if spec.digest in completed}
        counted |= ours
        missing = tuple(spec for point, spec in specs.items() if point not in ours)
        if missing:
            return Progress(ladder, tuple(done), tuple(counted.items()), missing, False)
        done.append(Done(stage.name, tuple(sorted(Outcome(point, loss_of(trial)) for point, trial in ours.items()))))


def spec_of(study: Telescope, ladder: Ladder, point: Point) -> TrialSpec:
    """The run that a planned point stands for."""
    values = {axis.name: from_octaves(x) for axis, x in zip(ladder.axes, point.x, strict=True)}
    return study.spec(ladder.optimizer, ladder.widths[point.level], values, point.seed)


def loss_of(trial: Trial) -> float:
    """Final loss; anything that is no finite number is worse than any that is."""
    return trial.loss if trial.loss is not None and math.isfinite(trial.loss) else math.inf


def exceeded(study: Telescope, ladder: Ladder, points: Sequence[Point]) -> str:
    """The limit that these points of one ladder would break, or nothing; each ladder has an equal share, so that none waits."""
    share = len(study.optimizers)
    if len(points) > study.limits.max_trials // share:
        return "limit:max_trials"
    flops = ladder.base_flops * sum(ladder.costs[point.level] for point in points)
    if study.limits.max_flops is not None and flops > study.limits.max_flops / share:
        return "limit:max_flops"
    return ""
