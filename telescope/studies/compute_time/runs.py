"""Courses: sets of runs that together give one curve of loss against tokens.

A *course* consists of the runs with one optimizer, batch size and seed. The study's *reading*
(`runs.reading` in the document) determines the losses on the course's curve:

    constant    the held-out losses along a run at a constant learning rate
    cooldown    the final losses of cooldowns, which branch off a run at a constant learning rate at
                several steps and decay the learning rate to zero
    full        the final losses of separate runs of several lengths, which decay the learning rate
                to zero

The run at a constant learning rate is the *trunk* of the course. Under the reading constant, the
trunk ends early once its held-out loss is a little below the lowest target loss. Under the readings
cooldown and full, each run length is about sqrt(2) times the next shorter one.

A course is planned in *stages*. Stage 0 has the run lengths that the document asks for. If all
final losses of the course are above `threshold`, a further stage doubles the length, as often as
the document allows. The trunk of a further stage begins at the last step of the previous trunk. No
stage follows a diverged trunk. Plans need no loss curves, only the final losses of trials.

Parts: `RunSetting` · `Course` · `course`, computed from the completed trials · `stage_parts`, the
runs of a stage · `read_course`, the curve of a course.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np

from telescope.statistics.estimates import Array
from telescope.studies.compute_time.question import Runs
from telescope.studies.compute_time.reasons import HyperparameterDoubt
from telescope.studies.compute_time.rows import Source
from telescope.train.branch import cooldown, extension
from telescope.trials.data import DataSpec
from telescope.trials.horizon import HorizonSpec
from telescope.trials.model import ModelSpec
from telescope.trials.optimizer import OptimizerSpec
from telescope.trials.outcome import Trial
from telescope.trials.spec import TrialSpec

LearningRateDecay = Literal["constant", "linear", "wsd"]  # see `HorizonSpec.decay`
# Under the reading constant, a trunk ends once its loss is below the lowest target loss by this
# share. With this margin, the smoothed curve can also cross the target loss.
STOP_MARGIN = 0.03


@dataclass(frozen=True)
class RunSetting:
    """What the runs of an optimizer at a batch have in common."""

    optimizer: OptimizerSpec
    model: ModelSpec
    data: DataSpec
    batch_tokens: int
    source: Source  # where the learning rate and weight decay come from
    doubts: tuple[HyperparameterDoubt, ...] = ()


@dataclass(frozen=True, eq=False)
class Course:
    """The runs with one optimizer, batch size and seed so far, and their curve of held-out loss
    against tokens."""

    trials: tuple[Trial, ...]  # completed runs
    missing: tuple[TrialSpec, ...]  # runs that can start now
    tokens: Array  # [point of the curve], ascending
    loss: Array  # [point of the curve]
    diverged: bool  # true if any of the trials diverged

    @property
    def ended(self) -> bool:
        """True if no run is missing."""
        return not self.missing


def course(
    runs: Runs, setting: RunSetting, seed: int, lowest: float | None, completed: Mapping[str, Trial]
) -> Course:
    """The course so far. `completed` contains the completed trials, keyed by digest. `lowest` is
    the lowest target loss; None if the study has no target losses."""
    trials: list[Trial] = []
    for stage in range(1 + (runs.doublings if lowest is not None else 0)):
        for specs in stage_parts(runs, setting, seed, lowest, stage):
            missing = tuple(spec for spec in specs if spec.digest not in completed)
            finished = [completed[spec.digest] for spec in specs if spec.digest in completed]
            trials += finished
            if missing or any(trial.diverged for trial in finished if is_trunk(trial.spec)):
                return read_course(runs, trials, missing)
        if lowest is None or min(final(trial) for trial in trials) <= threshold(runs, lowest):
            break
    return read_course(runs, trials, ())


def stage_parts(
    runs: Runs, setting: RunSetting, seed: int, lowest: float | None, stage: int
) -> list[tuple[TrialSpec, ...]]:
    """The runs of a stage of a course, in one or two parts. The runs of the second part branch off
    the run of the first part."""
    if runs.reading == "constant":
        return [(trunk(runs, setting, seed, lowest, stage),)]
    steps = lengths(runs, setting.batch_tokens, stage)
    if runs.reading == "full":
        return [tuple(full(runs, setting, seed, n) for n in steps)]
    cooldowns = tuple(cooled_down(runs, setting, seed, n, stage) for n in steps)
    return [(trunk(runs, setting, seed, lowest, stage),), cooldowns]


@lru_cache(maxsize=65_536)
def trunk(
    runs: Runs, setting: RunSetting, seed: int, lowest: float | None, stage: int
) -> TrialSpec:
    """The run at a constant learning rate, after `stage` doublings of its length."""
    batch_tokens, reads_curve = setting.batch_tokens, runs.reading == "constant"
    end = end_of(runs, batch_tokens, stage)
    may_be_extended = reads_curve and lowest is not None and stage < runs.doublings
    kept_steps = (end,) if may_be_extended else branch_steps(runs, batch_tokens, stage)
    if stage > 0:
        previous = trunk(runs, setting, seed, lowest, stage - 1)
        return extension(
            previous,
            end,
            kept_steps=kept_steps,
            evaluate_every=previous.horizon.evaluate_every,
            stop_below_loss=previous.horizon.stop_below_loss,
        )
    horizon = horizon_of(runs, batch_tokens, end, "constant")
    if reads_curve:
        interval = max(1, steps_of(runs.tokens, batch_tokens) // runs.evaluations)
        stop = threshold(runs, lowest) if lowest is not None else None
        horizon = replace(
            horizon, evaluate_every=interval, record_every=interval, stop_below_loss=stop
        )
    return TrialSpec(
        model=setting.model,
        optimizer=setting.optimizer,
        data=setting.data,
        horizon=horizon,
        seed=seed,
        kept_steps=kept_steps,
    )


@lru_cache(maxsize=65_536)
def cooled_down(runs: Runs, setting: RunSetting, seed: int, steps: int, stage: int) -> TrialSpec:
    """A cooldown that branches off the trunk of a stage and ends at step `steps`."""
    cooling = cooling_steps(runs, steps)
    return cooldown(trunk(runs, setting, seed, None, stage), steps - cooling, cooling)


@lru_cache(maxsize=65_536)
def full(runs: Runs, setting: RunSetting, seed: int, steps: int) -> TrialSpec:
    """A separate run of `steps` steps, which decays the learning rate linearly to zero."""
    horizon = horizon_of(runs, setting.batch_tokens, steps, "linear")
    return TrialSpec(
        model=setting.model,
        optimizer=setting.optimizer,
        data=setting.data,
        horizon=horizon,
        seed=seed,
    )


def horizon_of(runs: Runs, batch_tokens: int, steps: int, decay: LearningRateDecay) -> HorizonSpec:
    """Length, batch size and learning-rate schedule of a run. The schedule begins with a warm-up.
    With the decay `wsd`, the learning rate is then constant until the cooldown at the end."""
    micro = runs.micro_batch_tokens
    return HorizonSpec(
        steps=steps,
        batch_tokens=batch_tokens,
        micro_batch_tokens=micro if micro and micro < batch_tokens else None,
        # half a step less, since the number of warm-up steps is rounded up
        warmup_fraction=(min(course_warmup_steps(runs, batch_tokens), steps) - 0.5) / steps,
        decay=decay,
        decay_fraction=runs.cooldown_fraction,
        evaluation_tokens=runs.evaluation_tokens,
    )


def steps_of(tokens: float, batch_tokens: int) -> int:
    """The number of steps, at least one, that comes nearest to this number of tokens."""
    return max(1, round(tokens / batch_tokens))


def course_warmup_steps(runs: Runs, batch_tokens: int) -> int:
    """The number of warm-up steps of a course's runs; at least one."""
    return steps_of(runs.warmup_tokens or runs.tokens / 20, batch_tokens)


def lengths(runs: Runs, batch_tokens: int, stage: int) -> tuple[int, ...]:
    """The lengths, in steps and ascending, of the runs that a stage adds. A length is left out if
    it is too short for warm-up and cooldown. If all are too short, the longest is kept."""
    first, last = (1 - runs.lengths, 0) if stage == 0 else (2 * stage - 1, 2 * stage)
    steps = sorted(
        {steps_of(runs.tokens * 2 ** (i / 2), batch_tokens) for i in range(first, last + 1)}
    )
    return tuple(
        n for n in steps if n - cooling_steps(runs, n) >= course_warmup_steps(runs, batch_tokens)
    ) or tuple(steps[-1:])


def cooling_steps(runs: Runs, steps: int) -> int:
    """The number of cooldown steps in a run of `steps` steps."""
    return min(max(1, round(runs.cooldown_fraction * steps)), steps - 1)


def branch_steps(runs: Runs, batch_tokens: int, stage: int) -> tuple[int, ...]:
    """The steps at which a stage's cooldowns branch off the trunk, ascending. Empty under the
    reading constant."""
    if runs.reading == "constant":
        return ()
    return tuple(sorted({n - cooling_steps(runs, n) for n in lengths(runs, batch_tokens, stage)}))


def end_of(runs: Runs, batch_tokens: int, stage: int) -> int:
    """The last step of a stage's trunk."""
    if runs.reading == "constant":
        return steps_of(runs.tokens, batch_tokens) << stage
    return branch_steps(runs, batch_tokens, stage)[-1]


def threshold(runs: Runs, lowest: float) -> float:
    """The loss that decides on further stages. A course has no further stage once the final loss
    of one of its runs is at or below the threshold."""
    return float(f"{lowest * (1 - STOP_MARGIN):.6g}") if runs.reading == "constant" else lowest


def is_trunk(spec: TrialSpec) -> bool:
    """True if a run keeps states from which other runs can branch off."""
    return bool(spec.kept_steps)


def final(trial: Trial) -> float:
    """The final loss of a trial; inf if there is no finite final loss."""
    return trial.loss if trial.loss is not None and math.isfinite(trial.loss) else math.inf


def read_course(runs: Runs, trials: list[Trial], missing: tuple[TrialSpec, ...]) -> Course:
    """The course of these completed trials. Under the reading constant, its curve joins the curves
    of the trials (`held_out`). Under the other readings, the curve has the final loss of each trial
    that is not a trunk and did not diverge."""
    diverged = any(trial.diverged for trial in trials)
    if runs.reading == "constant":
        curves = [held_out(trial) for trial in trials]
        tokens, loss = (
            np.concatenate([np.zeros(0), *(curve[column] for curve in curves)]) for column in (0, 1)
        )
    else:
        ends = [trial for trial in trials if not (is_trunk(trial.spec) or trial.diverged)]
        ends.sort(key=lambda trial: trial.spec.horizon.tokens)
        tokens = np.array([float(trial.spec.horizon.tokens) for trial in ends])
        loss = np.array([final(trial) for trial in ends])
    return Course(tuple(trials), missing, tokens, loss, diverged)


def held_out(trial: Trial) -> tuple[Array, Array]:
    """Tokens and held-out losses at the points of a trial's outline (its curve, reduced to few
    points). Empty if the trial has no outline. If the outline holds training losses, the only point
    is the final held-out loss; there is no point if that loss is not finite."""
    outline = trial.outline
    if outline is None:
        return np.zeros(0), np.zeros(0)
    if outline.held_out:
        return outline.tokens.astype(np.float64), outline.loss.astype(np.float64)
    last = outline.tokens[-1:] if math.isfinite(final(trial)) else outline.tokens[:0]
    return last.astype(np.float64), np.full(len(last), final(trial))
