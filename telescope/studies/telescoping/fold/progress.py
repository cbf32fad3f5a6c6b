"""The stages of a ladder, planned anew from the completed trials, up to the first unfinished stage.

A *ladder* searches the hyperparameters of one optimizer at increasing widths. A *stage* is a set of
runs that are planned together. The coordinate check, a set of short runs at several widths, comes
first. The stages of the search schedule (`schedule` in the user's document) follow, and then the
stages at the target width. A question is the user's document in checked form. A question with
variants (architectures or corpora to compare) is split into one question per variant
(`question.variants`). The functions here take the question of a single variant.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from telescope.studies.coordinates.check import CheckProgress, skipped, step
from telescope.studies.kind import EndCause, Label, Planned
from telescope.studies.telescoping.fold.estimates import target_estimates
from telescope.studies.telescoping.fold.ladders import coordinate_design
from telescope.studies.telescoping.fold.specs import spec_of
from telescope.studies.telescoping.ladder.ladder import Done, Ladder, Outcome, Point, Stage
from telescope.studies.telescoping.question.pairing import pairing
from telescope.studies.telescoping.question.parts import PaperOptions
from telescope.studies.telescoping.question.question import Question
from telescope.studies.telescoping.schedules import paper, robust, validation
from telescope.trials.outcome import Trial, TrialState

COORDINATES = "coordinates"  # name of the coordinate check's stage


def following(
    question: Question, ladder: Ladder, done: Sequence[Done], validated: Sequence[Done]
) -> Stage | None:
    """The stage that follows the finished stages of the schedule (`done`) and the finished stages
    at the target (`validated`). `None` if the ladder is complete.
    """
    return next_stage(question.schedule, question.paper, ladder, tuple(done)) or validation_stage(
        question, ladder, done, validated
    )


@lru_cache(maxsize=16_384)
def next_stage(
    schedule: str, options: PaperOptions, ladder: Ladder, done: tuple[Done, ...]
) -> Stage | None:
    """The stage of the schedule that follows the finished stages `done`. `None` if the schedule is
    complete.
    """
    return (
        robust.next_stage(ladder, done)
        if schedule == "robust"
        else paper.next_stage(ladder, done, options)
    )


def coordinate_step(
    question: Question, ladder: Ladder, completed: Mapping[str, Trial]
) -> CheckProgress:
    """The progress of the coordinate check. The check has no runs if the question skips it."""
    plan = coordinate_design(question, ladder)
    return (
        step(plan, completed)
        if question.coordinates == "check"
        else CheckProgress((), (), skipped(plan))
    )


def ends_the_ladder(question: Question, ladder: Ladder, check: CheckProgress) -> bool:
    """Whether a failed coordinate check ends the ladder. A *pairing* is a ladder's combination of
    scaling rules. A pairing is sound if theory raises no objection to it. A ladder with an unsound
    pairing continues after a failed check.
    """
    return check.failed and pairing(question, ladder.optimizer).sound


@dataclass(frozen=True, kw_only=True)
class LadderProgress:
    """The finished stages of a ladder, and the runs that are missing."""

    ladder: Ladder
    check: CheckProgress  # the coordinate check, before the first stage of the schedule
    done: tuple[Done, ...] = ()  # finished stages of the schedule
    # completed trials of the finished stages and of the current stage, without the check
    trials: tuple[tuple[Point, Trial], ...] = ()
    # runs of the current stage, or of the coordinate check, that are not completed
    missing: tuple[Planned, ...] = ()
    validation: tuple[Done, ...] = ()  # finished stages at the target
    limit: EndCause | None = None  # the limit that ended the ladder
    refused: bool = False  # whether the coordinate check ended the ladder

    @property
    def ended(self) -> bool:
        """Whether nothing is left to run."""
        return not self.missing


def ladder_progress(question: Question, ladder: Ladder, trials: Sequence[Trial]) -> LadderProgress:
    """The progress of a ladder. Those of the `trials` that are not completed are ignored."""
    completed = {trial.digest: trial for trial in trials if trial.state is TrialState.COMPLETED}
    check = coordinate_step(question, ladder, completed)
    refused = ends_the_ladder(question, ladder, check)
    if check.missing or refused:
        planned = tuple(
            Planned(spec, Label(ladder.optimizer, COORDINATES)) for spec in check.missing
        )
        return LadderProgress(ladder=ladder, check=check, missing=planned, refused=refused)
    return replayed(question, ladder, check, completed)


def replayed(
    question: Question, ladder: Ladder, check: CheckProgress, completed: Mapping[str, Trial]
) -> LadderProgress:
    """The progress of a ladder whose coordinate check is finished or skipped. `completed` holds the
    completed trials by digest.
    """
    done, validated, trial_at = list[Done](), list[Done](), dict[Point, Trial]()
    check_flops = math.fsum(trial.flops for trial in check.trials)
    missing: tuple[Planned, ...] = ()
    limit = None
    while stage := following(question, ladder, done, validated):
        if limit := exceeded(question, ladder, [*trial_at, *stage.points], check_flops):
            break
        specs = {point: spec_of(question, ladder, point) for point in stage.points}
        trials = {point: completed.get(spec.digest) for point, spec in specs.items()}
        trial_at |= {point: trial for point, trial in trials.items() if trial}
        if missing := tuple(
            Planned(specs[point], label_of(ladder, stage, point))
            for point, trial in trials.items()
            if trial is None
        ):
            break
        results = sorted(Outcome(point, final_loss_of(trial_at[point])) for point in trials)
        stages = validated if stage.name == validation.STAGE else done
        stages.append(Done(stage.name, tuple(results)))
    return LadderProgress(
        ladder=ladder,
        check=check,
        done=tuple(done),
        trials=tuple(trial_at.items()),
        missing=missing,
        validation=tuple(validated),
        limit=limit,
    )


def label_of(ladder: Ladder, stage: Stage, point: Point) -> Label:
    """The label of a planned run. The label of a run at the target has no level."""
    return Label(ladder.optimizer, stage.name, point.level if point.level < ladder.levels else None)


def validation_stage(
    question: Question, ladder: Ladder, done: Sequence[Done], validated: Sequence[Done]
) -> Stage | None:
    """The next stage of runs at the target. `None` if the question asks for no validation, if the
    validation is complete, or if no run of the schedule has a finite loss.
    """
    finite = any(o.finite for stage in done for o in stage.outcomes)
    if not question.validate_at_target or not finite:
        return None
    estimates = target_estimates(question, ladder, done)
    values = [estimates[i].value for i in range(len(ladder.axes))]
    return validation.next_stage(ladder, values, validated)


def final_loss_of(trial: Trial) -> float:
    """The final loss of a trial. The result is infinite if the trial has no loss, or if its loss is
    not finite.
    """
    return trial.loss if trial.loss is not None and math.isfinite(trial.loss) else math.inf


def exceeded(
    question: Question, ladder: Ladder, points: Sequence[Point], check_flops: float = 0.0
) -> EndCause | None:
    """The limit that a ladder would exceed with runs at all these points, past and planned. `None`
    if the ladder would exceed no limit.

    Each ladder may use an equal share of the question's limits on trials and FLOPs, so that no
    ladder waits for another. A ladder exceeds a limit if it uses more than its share. The runs of
    the coordinate check count towards the limit on FLOPs (as `check_flops`), but not towards the
    limit on trials.
    """
    ladders, limits = len(question.optimizers), question.limits
    if len(points) > limits.max_trials // ladders:
        return EndCause.OUT_OF_TRIALS
    flops = ladder.base_flops * sum(ladder.cost(point.level) for point in points)
    if limits.max_flops is not None and flops + check_flops > limits.max_flops / ladders:
        return EndCause.OUT_OF_FLOPS
    return None
