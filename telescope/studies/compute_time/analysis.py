"""The answer to any target loss: the tokens, steps and hours that each optimizer needs to reach it.

A *course* consists of the runs with one optimizer, batch size and seed that together give one curve
of held-out loss against tokens. `Analysis.of` reads the curves of all courses once. It smooths them
if losses are read along the curve of a run (`runs.reading: constant`). The methods of the analysis
then give the answer to any target loss. The statistics come from modules of `telescope.statistics`:
`tokens_to_loss` (the tokens at which a curve crosses the target loss), `batch_readings` (intervals
from the differences between seeds), `critical_batch`, `token_ratio` and `frontier`. The module
`tables` turns the statistics into rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from telescope.errors import InvalidInput
from telescope.statistics.batch_readings import Readings
from telescope.statistics.frontier import Frontier, compare
from telescope.statistics.token_ratio import ratios, trend
from telescope.statistics.tokens_to_loss import (
    SMOOTHED,
    Crossings,
    LossCurves,
    Smoothed,
    TargetOutcome,
    smoothed,
)
from telescope.studies.compute_time.fold import BatchProgress, StudyProgress, progress
from telescope.studies.compute_time.question import READING_TEXTS, Question
from telescope.studies.compute_time.reasons import NoAnswer, NothingToRead, NotReached
from telescope.studies.compute_time.rows import (
    BatchAnswer,
    FrontierAnswer,
    FrontierRow,
    RatioAnswer,
)
from telescope.studies.compute_time.runs import Course
from telescope.studies.compute_time.tables import (
    batch_rows,
    finite,
    frontier_rows,
    ratio_row,
    summary,
    trend_start,
)
from telescope.studies.compute_time.times import step_time_assumptions
from telescope.studies.compute_time.wording import no_answer_words
from telescope.trials.outcome import Trial
from telescope.trials.types import OptimizerName


@dataclass(frozen=True, eq=False)
class Arm:
    """The courses of an optimizer: at most one per batch and seed."""

    batches: tuple[BatchProgress, ...]  # the batches with a course
    rows: slice  # the rows of this optimizer's courses in `Analysis.courses`
    batch_tokens: NDArray[np.int64]  # [course]
    seeds: NDArray[np.int64]  # [course]

    @property
    def optimizer(self) -> OptimizerName:
        return self.batches[0].optimizer

    def at(self, batch_tokens: float) -> BatchProgress:
        """The progress of this optimizer at a batch size."""
        return next(batch for batch in self.batches if batch.batch_tokens == batch_tokens)

    def readings(self, crossings: Crossings) -> Readings:
        """The tokens that each course of this optimizer needed to reach a loss. `crossings` has a
        row for each course of the analysis."""
        own = Crossings(crossings.tokens[self.rows], crossings.outcome[self.rows])
        return Readings.of(self.batch_tokens, self.seeds, own)


@dataclass(frozen=True, eq=False)
class Analysis:
    """The courses of a study, and the answers that they give to target losses."""

    question: Question
    courses: Smoothed  # the curves of all courses, smoothed if the reading is constant
    arms: tuple[Arm, ...]

    @classmethod
    def of(cls, question: Question, trials: Sequence[Trial]) -> "Analysis":
        """The analysis of a study's completed trials; other trials are ignored. Under the reading
        constant, trials must have their outlines (curves reduced to few points)."""
        return cls.after(question, progress(question, trials))

    @classmethod
    def after(cls, question: Question, study_progress: StudyProgress) -> "Analysis":
        """The analysis of the courses so far. A course is left out if its curve has no points and
        none of its trials diverged."""
        courses, arms = list[Course](), list[Arm]()
        for optimizer in question.optimizers:
            runs = [
                (batch, seed, course)
                for batch in study_progress.batches
                if batch.optimizer == optimizer
                for seed, course in enumerate(batch.courses)
                if len(course.tokens) or course.diverged
            ]
            if runs:
                arm = Arm(
                    batches=tuple({batch.batch_tokens: batch for batch, _, _ in runs}.values()),
                    rows=slice(len(courses), len(courses) + len(runs)),
                    batch_tokens=np.array([batch.batch_tokens for batch, _, _ in runs]),
                    seeds=np.array([seed for _, seed, _ in runs]),
                )
                arms.append(arm)
                courses += [course for _, _, course in runs]
        curves = LossCurves.of(
            [(course.tokens.tolist(), course.loss.tolist()) for course in courses],
            [course.diverged for course in courses],
        )
        window = SMOOTHED if question.runs.reading == "constant" else 1
        return cls(question, smoothed(curves, window), tuple(arms))

    def frontier(
        self, target_loss: float, optimizer: OptimizerName | None = None
    ) -> FrontierAnswer:
        """The hours to reach the loss on each number of devices. By default, there are rows for all
        optimizers. Raises InvalidInput if no run reached the loss."""
        devices = self.question.devices
        rows = {
            arm.optimizer: frontier_rows(devices, arm.batches, readings)
            for arm, readings in self.readings(target_loss)
        }
        first, second = (iso_loss_curve(rows.get(name, [])) for name in ("adamw", "muon"))
        return FrontierAnswer(
            target_loss=target_loss,
            read=self.read,
            rows=tuple(row for name in rows if optimizer in (None, name) for row in rows[name]),
            dominance=compare(first, second),
            model=step_time_assumptions(devices),
        )

    def batch_sizes(
        self, target_loss: float, optimizer: OptimizerName | None = None
    ) -> BatchAnswer:
        """The tokens and steps to reach the loss at each batch size; by default, for all
        optimizers. Raises InvalidInput if no run reached the loss."""
        arms = [
            (arm.batches, readings)
            for arm, readings in self.readings(target_loss)
            if optimizer in (None, arm.optimizer)
        ]
        return BatchAnswer(
            target_loss=target_loss,
            read=self.read,
            rows=tuple(row for batches, readings in arms for row in batch_rows(batches, readings)),
            optimizers=tuple(summary(batches, readings) for batches, readings in arms),
        )

    def token_ratio(self, target_loss: float) -> RatioAnswer:
        """AdamW's tokens to the loss divided by Muon's at each batch, and the trend of this ratio.
        If the answer has no rows, its note gives the reason. Raises InvalidInput if no run reached
        the loss."""
        arms = {arm.optimizer: (arm, readings) for arm, readings in self.readings(target_loss)}
        if not {"adamw", "muon"} <= arms.keys():
            names = ", ".join(arms)
            note = f"a ratio needs runs of both optimizers; there are only runs of {names}"
            return RatioAnswer.without_rows(target_loss, self.read, note)
        (adamw, first), (muon, second) = arms["adamw"], arms["muon"]
        rows = tuple(
            ratio_row(adamw.at(ratio.batch_tokens), muon.at(ratio.batch_tokens), ratio)
            for ratio in ratios(first, second)
        )
        if not rows:
            note = "there is no batch at which both optimizers have a run that did not diverge"
            return RatioAnswer.without_rows(target_loss, self.read, note)
        start = trend_start(first, second)
        ratio_trend = trend(first, second, start)
        return RatioAnswer(
            target_loss=target_loss,
            read=self.read,
            rows=rows,
            trend_from_batch_tokens=finite(start),
            trend=ratio_trend.direction if ratio_trend else None,
            exponent=finite(ratio_trend.exponent.value) if ratio_trend else None,
            exponent_low=finite(ratio_trend.exponent.low) if ratio_trend else None,
            exponent_high=finite(ratio_trend.exponent.high) if ratio_trend else None,
            p_falling=ratio_trend.p_falling if ratio_trend else None,
            note="",
        )

    @property
    def read(self) -> str:
        """How the tokens to a loss are read off the runs, as text."""
        window = self.courses.window
        smoothing = (
            f"smoothed twice by a moving mean of up to {window} points"
            if window > 1
            else "not smoothed"
        )
        source = f"held-out loss {READING_TEXTS[self.question.runs.reading]}"
        crossing = "the first lasting crossing, interpolated linearly in log tokens"
        return f"{source}; {smoothing}; {crossing}"

    @cached_property
    def loss_range(self) -> tuple[float, float] | None:
        """The highest and the lowest loss on all curves in `courses`; None without losses."""
        recorded = np.arange(self.courses.loss.shape[1]) < self.courses.curves.points[:, None]
        losses = self.courses.loss[recorded]
        return (float(losses.max()), float(losses.min())) if len(losses) else None

    def no_answer(self, target_loss: float) -> NoAnswer | None:
        """The reason why no run reached a loss; None if a run did."""
        if self.loss_range is None:
            return NothingToRead(target_loss=target_loss)
        outcomes = self.courses.crossings(target_loss).outcome
        if np.isin(outcomes, (TargetOutcome.REACHED, TargetOutcome.EARLY)).any():
            return None
        high, low = self.loss_range
        return NotReached(target_loss=target_loss, highest_loss=high, lowest_loss=low)

    def readings(self, target_loss: float) -> list[tuple[Arm, Readings]]:
        """The tokens that the courses needed to reach a loss, by optimizer. Raises InvalidInput if
        no run reached the loss."""
        if reason := self.no_answer(target_loss):
            raise InvalidInput.of("target_loss", no_answer_words(reason), target_loss)
        crossings = self.courses.crossings(target_loss)
        return [(arm, arm.readings(crossings)) for arm in self.arms]


def iso_loss_curve(rows: Sequence[FrontierRow]) -> Frontier:
    """The curve of hours against devices through an optimizer's rows on the frontier."""
    best = [row for row in rows if row.on_frontier]
    return Frontier.of([row.devices for row in best], [row.hours or 0.0 for row in best])
