"""The runs of an optimizer at a batch and seed, and their loss curve.

A *course* is loss against tokens, read in the same way under every reading
(`telescope.statistics.tokens_to_loss`):

    constant    the held-out losses along a run at a constant learning rate: a *trunk*, which ends a
                little below the lowest target
    cooldown    final losses of cooldowns that branch off a trunk, each at its own length
    full        final losses of separate runs of these lengths, each decaying to zero

Lengths are half an octave apart. A course that has not reached the lowest target is doubled, as
often as the study allows: a trunk is extended by a branch at its last step. Plans depend on final
losses alone.

Parts: `Setting` · `Course` · `course` of the completed trials.
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

Decay = Literal["constant", "linear", "wsd"]
# of the lowest target: a trunk goes on until it is that far below, so that the crossing lies within
# smoothed points
STOP_MARGIN = 0.03


@dataclass(frozen=True)
class Setting:
    """An optimizer at a batch, with everything that its runs share."""

    optimizer: OptimizerSpec
    model: ModelSpec
    data: DataSpec
    batch_tokens: int
    source: Source
    doubts: tuple[HyperparameterDoubt, ...] = ()


@dataclass(frozen=True, eq=False)
class Course:
    """Loss against tokens of an optimizer, batch and seed so far."""

    trials: tuple[Trial, ...]  # of the course
    missing: tuple[TrialSpec, ...]  # of its current stage
    tokens: Array  # [point], rising
    loss: Array  # [point]
    diverged: bool

    @property
    def ended(self) -> bool:
        """Whether no run is missing."""
        return not self.missing


def course(
    runs: Runs, setting: Setting, seed: int, lowest: float | None, completed: Mapping[str, Trial]
) -> Course:
    """The course by the completed trials, given the lowest target loss, if any."""
    trials: list[Trial] = []
    for stage in range(1 + (runs.doublings if lowest is not None else 0)):
        for specs in stage_parts(runs, setting, seed, lowest, stage):
            missing = tuple(spec for spec in specs if spec.digest not in completed)
            found = [completed[spec.digest] for spec in specs if spec.digest in completed]
            trials += found
            if missing or any(trial.diverged for trial in found if is_trunk(trial.spec)):
                return read_course(runs, trials, missing)
        if lowest is None or min(final(trial) for trial in trials) <= threshold(runs, lowest):
            break
    return read_course(runs, trials, ())


def stage_parts(
    runs: Runs, setting: Setting, seed: int, lowest: float | None, stage: int
) -> list[tuple[TrialSpec, ...]]:
    """The runs of a course's stage, the first or the nth doubling, part by part; each part needs
    the one before.
    """
    if runs.reading == "full":
        return [
            tuple(
                full(runs, setting, seed, steps)
                for steps in lengths(runs, setting.batch_tokens, stage)
            )
        ]
    if runs.reading == "constant":
        return [(trunk(runs, setting, seed, lowest, stage),)]
    cooled = tuple(
        cooled_down(runs, setting, seed, steps, stage)
        for steps in lengths(runs, setting.batch_tokens, stage)
    )
    return [(trunk(runs, setting, seed, lowest, stage),), cooled]


@lru_cache(maxsize=65_536)
def trunk(runs: Runs, setting: Setting, seed: int, lowest: float | None, stage: int) -> TrialSpec:
    """The run at a constant learning rate after `stage` doublings."""
    goes_on = runs.reading == "constant" and lowest is not None and stage < runs.doublings
    kept = (
        (end_of(runs, setting.batch_tokens, stage),)
        if goes_on
        else branch_steps(runs, setting.batch_tokens, stage)
    )
    if stage == 0:
        every = (
            max(1, steps_of(runs.tokens, setting.batch_tokens) // runs.evaluations)
            if runs.reading == "constant"
            else None
        )
        stop = (
            threshold(runs, lowest) if runs.reading == "constant" and lowest is not None else None
        )
        horizon = horizon_of(
            runs, setting.batch_tokens, end_of(runs, setting.batch_tokens, 0), "constant"
        )
        horizon = replace(horizon, evaluate_every=every, record_every=every, stop_below_loss=stop)
        return TrialSpec(
            model=setting.model,
            optimizer=setting.optimizer,
            data=setting.data,
            horizon=horizon,
            seed=seed,
            kept_steps=kept,
        )
    before = trunk(runs, setting, seed, lowest, stage - 1)
    measured = before.horizon
    return extension(
        before,
        end_of(runs, setting.batch_tokens, stage),
        kept_steps=kept,
        evaluate_every=measured.evaluate_every,
        stop_below_loss=measured.stop_below_loss,
    )


@lru_cache(maxsize=65_536)
def cooled_down(runs: Runs, setting: Setting, seed: int, steps: int, stage: int) -> TrialSpec:
    """A cooldown off the trunk that ends at `steps`."""
    cooling = cooling_steps(runs, steps)
    return cooldown(trunk(runs, setting, seed, None, stage), steps - cooling, cooling)


@lru_cache(maxsize=65_536)
def full(runs: Runs, setting: Setting, seed: int, steps: int) -> TrialSpec:
    """A separate run that decays to zero."""
    horizon = horizon_of(runs, setting.batch_tokens, steps, "linear")
    return TrialSpec(
        model=setting.model,
        optimizer=setting.optimizer,
        data=setting.data,
        horizon=horizon,
        seed=seed,
    )


def horizon_of(runs: Runs, batch_tokens: int, steps: int, decay: Decay) -> HorizonSpec:
    """The horizon of a run: first a warm-up of `warmup_tokens`; under wsd, last a cooldown."""
    micro = runs.micro_batch_tokens
    return HorizonSpec(
        steps=steps,
        batch_tokens=batch_tokens,
        micro_batch_tokens=micro if micro and micro < batch_tokens else None,
        # rounded up, it gives that number again
        warmup_fraction=(min(course_warmup_steps(runs, batch_tokens), steps) - 0.5) / steps,
        decay=decay,
        decay_fraction=runs.cooldown_fraction,
        evaluation_tokens=runs.evaluation_tokens,
    )


def steps_of(tokens: float, batch_tokens: int) -> int:
    """The nearest number of steps, at least one."""
    return max(1, round(tokens / batch_tokens))


def course_warmup_steps(runs: Runs, batch_tokens: int) -> int:
    """The steps of the warm-up, at least one."""
    return steps_of(runs.warmup_tokens or runs.tokens / 20, batch_tokens)


def lengths(runs: Runs, batch_tokens: int, stage: int) -> tuple[int, ...]:
    """The steps of the runs that a stage adds, half an octave apart and long enough for warm-up and
    cooldown.
    """
    first, last = (1 - runs.lengths, 0) if stage == 0 else (2 * stage - 1, 2 * stage)
    steps = sorted(
        {steps_of(runs.tokens * 2 ** (half / 2), batch_tokens) for half in range(first, last + 1)}
    )
    return tuple(
        n for n in steps if n - cooling_steps(runs, n) >= course_warmup_steps(runs, batch_tokens)
    ) or tuple(steps[-1:])


def cooling_steps(runs: Runs, steps: int) -> int:
    """The cooldown steps of a run of `steps`."""
    return min(max(1, round(runs.cooldown_fraction * steps)), steps - 1)


def branch_steps(runs: Runs, batch_tokens: int, stage: int) -> tuple[int, ...]:
    """The steps at which a stage's cooldowns branch off the trunk; none under constant."""
    if runs.reading == "constant":
        return ()
    return tuple(sorted({n - cooling_steps(runs, n) for n in lengths(runs, batch_tokens, stage)}))


def end_of(runs: Runs, batch_tokens: int, stage: int) -> int:
    """The last step of a trunk."""
    if runs.reading == "constant":
        return steps_of(runs.tokens, batch_tokens) << stage
    return branch_steps(runs, batch_tokens, stage)[-1]


def threshold(runs: Runs, lowest: float) -> float:
    """The loss that a course must reach."""
    return float(f"{lowest * (1 - STOP_MARGIN):.6g}") if runs.reading == "constant" else lowest


def is_trunk(spec: TrialSpec) -> bool:
    """Whether other runs may branch off it."""
    return bool(spec.kept_steps)


def final(trial: Trial) -> float:
    """The final loss; infinite where it is missing or not finite."""
    return trial.loss if trial.loss is not None and math.isfinite(trial.loss) else math.inf


def read_course(runs: Runs, trials: list[Trial], missing: tuple[TrialSpec, ...]) -> Course:
    """The course of some trials, ordered by tokens."""
    diverged = any(trial.diverged for trial in trials)
    if runs.reading == "constant":
        curves = [held_out(trial) for trial in trials]
        tokens, loss = (
            np.concatenate([np.zeros(0), *(curve[column] for curve in curves)]) for column in (0, 1)
        )
        return Course(tuple(trials), missing, tokens, loss, diverged)
    ended = sorted(
        (trial for trial in trials if not is_trunk(trial.spec)),
        key=lambda trial: trial.spec.horizon.tokens,
    )
    finite = [trial for trial in ended if not trial.diverged]
    tokens = np.array([float(trial.spec.horizon.tokens) for trial in finite])
    return Course(
        tuple(trials), missing, tokens, np.array([final(trial) for trial in finite]), diverged
    )


def held_out(trial: Trial) -> tuple[Array, Array]:
    """Tokens and held-out losses along a run; only the last point of a run that measured only that,
    since the rest of its outline is training loss.
    """
    outline = trial.outline
    if outline is None:
        return np.zeros(0), np.zeros(0)
    if outline.held_out:
        return outline.tokens.astype(np.float64), outline.loss.astype(np.float64)
    last = outline.tokens[-1:] if math.isfinite(final(trial)) else outline.tokens[:0]
    return last.astype(np.float64), np.full(len(last), final(trial))
