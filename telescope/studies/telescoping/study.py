"""What does a telescoping study ask, and which runs does each of its ladders still lack?

The stages of a ladder are replayed over the completed trials: the coordinate check, those of its schedule, the runs at the target.
A study over variants is several studies of one architecture and one text each (`variants`); what takes a ladder takes its variant's study.

Parts: `Telescope`, the question (its parts are in `question`, its checks in `checks`) · `ladders` · `progress`, the fold.
The answer is drawn in `answer`, the bill beforehand in `preview`.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic.dataclasses import dataclass

from telescope.coordinates import Design, Step, design, skipped, step
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
)
from telescope.studies import Plan
from telescope.studies.telescoping import paper, report, robust, validation, windows
from telescope.studies.telescoping.axes import SCALES, Axis, AxisName, field_of
from telescope.studies.telescoping.ladder import Done, Ladder, Outcome, Point, Stage
from telescope.studies.telescoping.question import AnyLadder, Estimator, Limits, PaperOptions, Range, Search, SweepOver
from telescope.trial import Trial, TrialState

if TYPE_CHECKING:
    from telescope.studies.telescoping.variants import Variant


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Telescope:
    """The telescoping study; see the module's text."""

    Report: ClassVar[type] = report.Report
    reads_curves: ClassVar[bool] = False

    kind: Literal["telescope"] = "telescope"
    name: str = "telescope"
    optimizer: OptimizerName | tuple[OptimizerName, ...] = "muon"
    adamw_lr_ratio: Positive = 0.5
    parametrisation: Parametrisation = "mup"
    optimizer_options: OptimizerOptions = field(default_factory=OptimizerOptions)
    model: AnyLadder
    data: DataSpec
    horizon: HorizonSpec = field(default_factory=lambda: HorizonSpec(steps=120, batch_tokens=512))
    search: Search
    schedule: Literal["robust", "paper"] = "robust"
    paper: PaperOptions = field(default_factory=PaperOptions)
    estimator: Estimator | None = None
    """How the answer is drawn from the runs; by default pooled, and under `paper` argmin, as published."""
    seeds: Count = 1
    """Runs per point under `paper`; `robust` buys seeds itself, where they remove most doubt per cost."""
    limits: Limits = field(default_factory=Limits)
    sweep_over: SweepOver | None = None
    """Compare architectures, or texts: ladders for each entry, a name and the fields that it has otherwise than `model`, or `data`."""
    reuse: bool = True
    """Take over finished runs of other jobs that are the same in every respect, instead of training them again; they cost nothing."""
    force_pairing: bool = False
    """Run scaling rules that do not go together all the same; the result is marked."""
    coordinates: Literal["check", "skip"] = "check"
    """Before anything else, see in a few steps whether the parametrisation keeps updates of one size over the widths. A failure ends the
    ladder, unless its pairing is known to be unsound: then it is reported."""
    validate_at_target: bool = False
    """At the end, train at the target width too, at the learning rate handed out and beside it, and report what it costs there."""

    @property
    def estimated_by(self) -> Estimator:
        """The estimator asked for, or the schedule's own."""
        return self.estimator or ("argmin" if self.schedule == "paper" else "pooled")

    @property
    def optimizers(self) -> tuple[OptimizerName, ...]:
        """One ladder each, for every variant."""
        return (self.optimizer,) if isinstance(self.optimizer, str) else self.optimizer

    @property
    def variants(self) -> "tuple[Variant, ...]":
        """The architectures or texts that are compared, each as a study of its own; this study, without a name, where nothing is."""
        from telescope.studies.telescoping.variants import variants  # which needs the study

        return variants(self)

    @property
    def batches(self) -> tuple[int, ...]:
        """Batch sizes in tokens: one."""
        return (self.horizon.batch_tokens,)

    def spec(self, optimizer: OptimizerName, width: int, values: Mapping[AxisName, float], seed: int = 0) -> TrialSpec:
        """One run at a width: swept values where given, the study's fixed ones elsewhere; of variants, each has its own study to ask."""
        assert self.sweep_over is None, "a run belongs to a variant"
        return trial_spec(self, optimizer, width, tuple(sorted(values.items())), seed)

    def target(self, optimizer: OptimizerName, values: Mapping[AxisName, float], seed: int = 0) -> TrialSpec:
        """The final run."""
        return replace(self.spec(optimizer, self.model.target_width, values, seed), model=self.model.target)

    def ladders(self) -> tuple[Ladder, ...]:
        """One per optimizer, for every variant."""
        return tuple(ladder for _, ladder in self.each_ladder())

    def each_ladder(self) -> "Iterator[tuple[Variant, Ladder]]":
        """Every ladder with the variant that it belongs to."""
        return ((variant, ladder) for variant in self.variants for ladder in ladders(variant.study))

    def plan(self, trials: Sequence[Trial]) -> Plan:
        """The runs that the current stage of each ladder still lacks."""
        found = [progress(variant.study, ladder, trials) for variant, ladder in self.each_ladder()]
        return Plan(tuple(spec for one in found for spec in one.missing), all(one.ended for one in found))

    def report(self, trials: Sequence[Trial], ended: str = "") -> report.Report:
        """The answer so far; `ended` is a reason such as limit:max_seconds for which no further trial will run."""
        from telescope.studies.telescoping.answer import answer  # which replays the fold below

        return answer(self, trials, ended)


@lru_cache(maxsize=65_536)
def trial_spec(study: Telescope, optimizer: OptimizerName, width: int, values: tuple[tuple[AxisName, float], ...], seed: int) -> TrialSpec:
    """See `Telescope.spec`; cached, since a plan is folded anew after every trial."""
    given: dict[str, Any] = {name: getattr(study.optimizer_options, name) for name in OptimizerOptions.__dataclass_fields__}
    if not isinstance(study.search.weight_decay, Range):
        given["weight_decay"] = study.search.weight_decay
    if optimizer == "muon":
        given["adamw_lr_ratio"] = study.adamw_lr_ratio
    else:
        given["muon_split"] = "whole"
    parts: dict[str, dict[str, Any]] = {"optimizer": given, "horizon": {}}
    for name, value in values:
        parts[SCALES[name].part][field_of(name, optimizer)] = value
    return TrialSpec(
        model=study.model.at(width),
        optimizer=OptimizerSpec(
            name=optimizer,
            parametrisation=study.parametrisation,
            **given,
        ),
        data=study.data,
        horizon=replace(study.horizon, **parts["horizon"]),
        seed=seed,
    )


def ranges(study: Telescope, optimizer: OptimizerName) -> dict[AxisName, Range]:
    """What a ladder sweeps, learning rate first."""
    named = {name: getattr(study.search, name) for name in SCALES if name != "adamw_lr_ratio" or optimizer == "muon"}
    return {name: found for name, found in named.items() if isinstance(found, Range)}


@lru_cache(maxsize=256)
def ladders(study: Telescope) -> tuple[Ladder, ...]:
    """One ladder per optimizer of a study of one variant, with the costs of its levels."""
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
        target_cost=trial_flops(study.target(optimizer, {name: r.low for name, r in swept.items()})) / flops[0],
        seeds=study.seeds,
    )
    if study.schedule == "paper":
        return ladder
    return replace(ladder, max_base_runs=study.limits.max_base_runs or robust.budget(ladder))


@lru_cache(maxsize=16_384)
def next_stage(schedule: str, options: PaperOptions, ladder: Ladder, done: tuple[Done, ...]) -> Stage | None:
    """What the study's schedule plans after some stages."""
    return robust.next_stage(ladder, done) if schedule == "robust" else paper.next_stage(ladder, done, options)


@lru_cache(maxsize=256)
def coordinate_design(study: Telescope, ladder: Ladder) -> Design:
    """The coordinate check of a ladder, in the middle of its ranges."""
    middle = {axis.name: axis.value((axis.low + axis.high) / 2) for axis in ladder.axes}
    runs = robust.forecast(ladder) if study.schedule == "robust" else [windows.runs(ladder, i, study.paper) for i in range(ladder.levels)]
    flops = ladder.base_flops * sum(ladder.costs[level] * count for level, count in enumerate(runs))
    most = math.inf if study.limits.max_flops is None else study.limits.max_flops / len(study.optimizers)
    return design(study.spec(ladder.optimizer, ladder.widths[0], middle), ladder.target_width, flops, most)


def coordinate_step(study: Telescope, ladder: Ladder, completed: Mapping[str, Trial]) -> Step:
    """How far the check has come that is a ladder's first stage."""
    plan = coordinate_design(study, ladder)
    return step(plan, completed) if study.coordinates == "check" else Step((), (), skipped(plan, "the job says coordinates: skip"))


def ends_the_ladder(study: Telescope, ladder: Ladder, check: Step) -> bool:
    """Whether a check fails that should not: that an unsound pairing does is known, and its ladder is there to show what comes of it."""
    from telescope.studies.telescoping.pairing import pairing  # which needs the study

    return check.failed and pairing(study, ladder.optimizer).sound


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a ladder has come."""

    ladder: Ladder
    done: tuple[Done, ...]
    trials: tuple[tuple[Point, Trial], ...]  # of the finished stages and of the current one
    missing: tuple[TrialSpec, ...]  # of the current stage
    ended: bool
    limit: str = ""  # the limit that ended it
    validation: tuple[Done, ...] = ()  # what was run at the target after the rounds
    check: Step = dataclasses.field(default_factory=lambda: Step((), (), None))  # of the coordinates, before the rounds
    refused: bool = False  # by that check


def progress(study: Telescope, ladder: Ladder, trials: Sequence[Trial]) -> Progress:
    """Replay a ladder's stages over the completed trials."""
    completed = {trial.digest: trial for trial in trials if trial.state is TrialState.COMPLETED}
    done: list[Done] = []
    validated: list[Done] = []
    counted: dict[Point, Trial] = {}
    check = coordinate_step(study, ladder, completed)
    refused = ends_the_ladder(study, ladder, check)
    if check.missing or refused:
        return Progress(ladder, (), (), check.missing, refused, check=check, refused=refused)
    while True:
        stage = next_stage(study.schedule, study.paper, ladder, tuple(done)) or validation_stage(study, ladder, done, validated)
        limit = exceeded(study, ladder, [*counted, *stage.points], math.fsum(t.flops for t in check.trials)) if stage else ""
        if stage is None or limit:
            return Progress(ladder, tuple(done), tuple(counted.items()), (), True, limit, tuple(validated), check)
        specs = {point: spec_of(study, ladder, point) for point in stage.points}
        ours = {point: completed[spec.digest] for point, spec in specs.items() if spec.digest in completed}
        counted |= ours
        missing = tuple(spec for point, spec in specs.items() if point not in ours)
        if missing:
            return Progress(ladder, tuple(done), tuple(counted.items()), missing, False, "", tuple(validated), check)
        ended = validated if stage.name == validation.STAGE else done
        ended.append(Done(stage.name, tuple(sorted(Outcome(point, loss_of(trial)) for point, trial in ours.items()))))


def validation_stage(study: Telescope, ladder: Ladder, done: Sequence[Done], validated: Sequence[Done]) -> Stage | None:
    """What is run at the target once the rounds have ended, where the study asks for it."""
    from telescope.studies.telescoping.answer import target_estimates  # which needs the fold

    if not study.validate_at_target or not any(o.finite for stage in done for o in stage.outcomes):
        return None
    estimates = target_estimates(study, ladder, done)
    return validation.next_stage(ladder, [estimates[i].value for i in range(len(ladder.axes))], validated)


def spec_of(study: Telescope, ladder: Ladder, point: Point) -> TrialSpec:
    """The run that a planned point stands for."""
    values = {axis.name: axis.value(x) for axis, x in zip(ladder.axes, point.x, strict=True)}
    if point.level == ladder.levels:
        return study.target(ladder.optimizer, values, point.seed)
    return study.spec(ladder.optimizer, ladder.widths[point.level], values, point.seed)


def loss_of(trial: Trial) -> float:
    """Final loss; anything that is no finite number is worse than any that is."""
    return trial.loss if trial.loss is not None and math.isfinite(trial.loss) else math.inf


def exceeded(study: Telescope, ladder: Ladder, points: Sequence[Point], check_flops: float = 0.0) -> str:
    """The limit that these points of one ladder would break, or nothing; each ladder has an equal share, so that none waits.

    The coordinate check counts where FLOPs do: it is no run of the search.
    """
    share = len(study.optimizers)
    if len(points) > study.limits.max_trials // share:
        return "limit:max_trials"
    flops = ladder.base_flops * sum(ladder.cost(point.level) for point in points)
    if study.limits.max_flops is not None and flops + check_flops > study.limits.max_flops / share:
        return "limit:max_flops"
    return ""
