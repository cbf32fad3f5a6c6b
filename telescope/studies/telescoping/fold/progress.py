"""The fold of a ladder: its stages replayed over the completed trials, down to the runs that it still lacks.

The stages are the coordinate check, those of its schedule, and the runs at the target. A question over variants is several
questions of one architecture and one text each (`question.variants`); what takes a ladder takes its variant's question.

Parts: `Progress`, `progress` · `next_stage`, `validation_stage` · `coordinate_step`, `ends_the_ladder` · `exceeded`.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

from telescope.studies.coordinates.check import Step, skipped, step
from telescope.studies.kind import Label, Planned
from telescope.studies.telescoping.fold.estimates import target_estimates
from telescope.studies.telescoping.fold.ladders import coordinate_design
from telescope.studies.telescoping.fold.specs import spec_of
from telescope.studies.telescoping.ladder.ladder import Done, Ladder, Outcome, Point, Stage
from telescope.studies.telescoping.question.pairing import pairing
from telescope.studies.telescoping.question.parts import PaperOptions
from telescope.studies.telescoping.question.question import Question
from telescope.studies.telescoping.reasons import Limit
from telescope.studies.telescoping.schedules import paper, robust, validation
from telescope.trials.outcome import Trial, TrialState

COORDINATES = "coordinates"  # the stage of the check


@lru_cache(maxsize=16_384)
def next_stage(schedule: str, options: PaperOptions, ladder: Ladder, done: tuple[Done, ...]) -> Stage | None:
    """What the study's schedule plans after some stages."""
    return robust.next_stage(ladder, done) if schedule == "robust" else paper.next_stage(ladder, done, options)


def coordinate_step(question: Question, ladder: Ladder, completed: Mapping[str, Trial]) -> Step:
    """How far the check has come that is a ladder's first stage."""
    plan = coordinate_design(question, ladder)
    return step(plan, completed) if question.coordinates == "check" else Step((), (), skipped(plan))


def ends_the_ladder(question: Question, ladder: Ladder, check: Step) -> bool:
    """Whether a check fails that should not: that an unsound pairing does is known, and its ladder is there to show what comes of it."""
    return check.failed and pairing(question, ladder.optimizer).sound


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a ladder has come."""

    ladder: Ladder
    done: tuple[Done, ...]
    trials: tuple[tuple[Point, Trial], ...]  # of the finished stages and of the current one
    missing: tuple[Planned, ...]  # of the current stage
    ended: bool
    limit: Limit | None = None  # the one that ended it
    validation: tuple[Done, ...] = ()  # what was run at the target after the rounds
    check: Step = dataclasses.field(default_factory=lambda: Step((), (), None))  # of the coordinates, before the rounds
    refused: bool = False  # by that check


def progress(question: Question, ladder: Ladder, trials: Sequence[Trial]) -> Progress:
    """Replay a ladder's stages over the completed trials."""
    completed = {trial.digest: trial for trial in trials if trial.state is TrialState.COMPLETED}
    done: list[Done] = []
    validated: list[Done] = []
    counted: dict[Point, Trial] = {}
    check = coordinate_step(question, ladder, completed)
    refused = ends_the_ladder(question, ladder, check)
    if check.missing or refused:
        planned = tuple(Planned(spec, Label(ladder.optimizer, COORDINATES)) for spec in check.missing)
        return Progress(ladder, (), (), planned, refused, check=check, refused=refused)
    while True:
        stage = next_stage(question.schedule, question.paper, ladder, tuple(done)) or validation_stage(question, ladder, done, validated)
        limit = exceeded(question, ladder, [*counted, *stage.points], math.fsum(t.flops for t in check.trials)) if stage else None
        if stage is None or limit:
            return Progress(ladder, tuple(done), tuple(counted.items()), (), True, limit, tuple(validated), check)
        specs = {point: spec_of(question, ladder, point) for point in stage.points}
        ours = {point: completed[spec.digest] for point, spec in specs.items() if spec.digest in completed}
        counted |= ours
        missing = tuple(Planned(spec, label_of(ladder, stage, point)) for point, spec in specs.items() if point not in ours)
        if missing:
            return Progress(ladder, tuple(done), tuple(counted.items()), missing, False, None, tuple(validated), check)
        ended = validated if stage.name == validation.STAGE else done
        ended.append(Done(stage.name, tuple(sorted(Outcome(point, loss_of(trial)) for point, trial in ours.items()))))


def label_of(ladder: Ladder, stage: Stage, point: Point) -> Label:
    """Where a point of a stage stands; runs at the target belong to no level."""
    return Label(ladder.optimizer, stage.name, point.level if point.level < ladder.levels else None)


def validation_stage(question: Question, ladder: Ladder, done: Sequence[Done], validated: Sequence[Done]) -> Stage | None:
    """What is run at the target once the rounds have ended, where the study asks for it."""
    if not question.validate_at_target or not any(o.finite for stage in done for o in stage.outcomes):
        return None
    estimates = target_estimates(question, ladder, done)
    return validation.next_stage(ladder, [estimates[i].value for i in range(len(ladder.axes))], validated)


def loss_of(trial: Trial) -> float:
    """Final loss; anything that is no finite number is worse than any that is."""
    return trial.loss if trial.loss is not None and math.isfinite(trial.loss) else math.inf


def exceeded(question: Question, ladder: Ladder, points: Sequence[Point], check_flops: float = 0.0) -> Limit | None:
    """The limit that these points of one ladder would break, or None; each ladder has an equal share, so that none waits.

    The coordinate check counts where FLOPs do: it is no run of the search.
    """
    share = len(question.optimizers)
    if len(points) > question.limits.max_trials // share:
        return Limit.MAX_TRIALS
    flops = ladder.base_flops * sum(ladder.cost(point.level) for point in points)
    if question.limits.max_flops is not None and flops + check_flops > question.limits.max_flops / share:
        return Limit.MAX_FLOPS
    return None
