"""The analysis of a target loss: tokens, steps and hours to reach it, and how optimizers compare.

`Analysis.of` reads the courses of all runs once; its methods then answer to any target loss, from
`telescope.statistics.tokens_to_loss` (where each course crosses it), `batch_readings` (intervals
over seeds), `critical_batch`, `token_ratio` and `frontier`; `tables` makes the rows.

Parts: `Arm`, one optimizer's runs · `Analysis`.
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
from telescope.studies.compute_time.question import READ, Question
from telescope.studies.compute_time.reasons import NothingToRead, NotReached, Unread
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
    since,
    summary,
)
from telescope.studies.compute_time.times import in_words
from telescope.studies.compute_time.wording import unread_words
from telescope.trials.outcome import Trial
from telescope.trials.types import OptimizerName


@dataclass(frozen=True, eq=False)
class Arm:
    """The runs of an optimizer: a row of the smoothed courses for each batch and seed."""

    batches: tuple[BatchProgress, ...]  # those with a course
    rows: slice  # of all courses, its own
    batch_tokens: NDArray[np.int64]  # [run]
    seeds: NDArray[np.int64]  # [run]

    @property
    def optimizer(self) -> OptimizerName:
        """The optimizer of the runs."""
        return self.batches[0].optimizer

    def at(self, batch_tokens: float) -> BatchProgress:
        """The batch of this size."""
        return next(one for one in self.batches if one.batch_tokens == batch_tokens)

    def readings(self, crossings: Crossings) -> Readings:
        """The rows of these runs in the crossings of all courses."""
        return Readings.of(
            self.batch_tokens,
            self.seeds,
            Crossings(crossings.tokens[self.rows], crossings.outcome[self.rows]),
        )


@dataclass(frozen=True, eq=False)
class Analysis:
    """All courses of a study, smoothed once, to be read at any target loss."""

    question: Question
    courses: Smoothed
    arms: tuple[Arm, ...]

    @classmethod
    def of(cls, question: Question, trials: Sequence[Trial]) -> "Analysis":
        """The analysis of terminal trials with their outlines."""
        return cls.after(question, progress(question, trials))

    @classmethod
    def after(cls, question: Question, now: StudyProgress) -> "Analysis":
        """The analysis of the runs so far."""
        courses, arms = list[Course](), list[Arm]()
        for optimizer in question.optimizers:
            found = [
                (one, seed, course)
                for one in now.batches
                if one.optimizer == optimizer
                for seed, course in enumerate(one.courses)
                if len(course.tokens) or course.diverged
            ]
            if found:
                batches = tuple({one.batch_tokens: one for one, _, _ in found}.values())
                batch_tokens, seeds = (
                    np.array([one.batch_tokens for one, _, _ in found]),
                    np.array([seed for _, seed, _ in found]),
                )
                arms.append(
                    Arm(
                        batches, slice(len(courses), len(courses) + len(found)), batch_tokens, seeds
                    )
                )
                courses += [course for _, _, course in found]
        curves = LossCurves.of(
            [(c.tokens.tolist(), c.loss.tolist()) for c in courses], [c.diverged for c in courses]
        )
        return cls(
            question,
            smoothed(curves, SMOOTHED if question.runs.reading == "constant" else 1),
            tuple(arms),
        )

    def frontier(
        self, target_loss: float, optimizer: OptimizerName | None = None
    ) -> FrontierAnswer:
        """Hours against devices. Raises InvalidInput where no run reached the loss."""
        devices = self.question.devices
        rows = {
            arm.optimizer: frontier_rows(devices, arm.batches, readings)
            for arm, readings in self.readings(target_loss)
        }
        first, second = (iso_loss_curve(rows.get(name, [])) for name in ("adamw", "muon"))
        shown = tuple(row for name in rows if optimizer in (None, name) for row in rows[name])
        return FrontierAnswer(
            target_loss, self.read, shown, compare(first, second), in_words(devices)
        )

    def batch_sizes(
        self, target_loss: float, optimizer: OptimizerName | None = None
    ) -> BatchAnswer:
        """Tokens and steps against batch size. Raises InvalidInput where no run reached the
        loss.
        """
        found = [
            (arm.batches, readings)
            for arm, readings in self.readings(target_loss)
            if optimizer in (None, arm.optimizer)
        ]
        rows = tuple(row for batches, readings in found for row in batch_rows(batches, readings))
        return BatchAnswer(
            target_loss,
            self.read,
            rows,
            tuple(summary(batches, readings) for batches, readings in found),
        )

    def token_ratio(self, target_loss: float) -> RatioAnswer:
        """AdamW's tokens over Muon's at each batch, and the trend of the ratio.

        Raises InvalidInput where no run reached the loss.
        """
        found = {arm.optimizer: (arm, readings) for arm, readings in self.readings(target_loss)}
        if not {"adamw", "muon"} <= found.keys():
            note = f"a ratio needs runs of both optimizers; these are of {', '.join(found)} only"
            return RatioAnswer.without_rows(target_loss, self.read, note)
        (one, first), (other, second) = found["adamw"], found["muon"]
        rows = tuple(
            ratio_row(one.at(row.batch_tokens), other.at(row.batch_tokens), row)
            for row in ratios(first, second)
        )
        if not rows:
            note = "at no batch do both optimizers have a run that did not diverge"
            return RatioAnswer.without_rows(target_loss, self.read, note)
        beyond = since(first, second)
        rises = trend(first, second, beyond)
        return RatioAnswer(
            target_loss=target_loss,
            read=self.read,
            rows=rows,
            trend_from_batch_tokens=finite(beyond),
            trend=rises.direction if rises else None,
            exponent=finite(rises.exponent.value) if rises else None,
            exponent_low=finite(rises.exponent.low) if rises else None,
            exponent_high=finite(rises.exponent.high) if rises else None,
            p_falling=rises.p_falling if rises else None,
            note="",
        )

    @property
    def read(self) -> str:
        """The method by which a loss is read, as text."""
        window = self.courses.window
        smoothing = (
            f"smoothed twice by a moving mean of {window} points" if window > 1 else "not smoothed"
        )
        source = f"held-out loss {READ[self.question.runs.reading]}"
        crossing = "the first lasting crossing, interpolated linearly in log tokens"
        return f"{source}; {smoothing}; {crossing}"

    @cached_property
    def reached(self) -> tuple[float, float] | None:
        """The highest and the lowest loss on any course; None without losses."""
        known = np.arange(self.courses.loss.shape[1]) < self.courses.curves.points[:, None]
        losses = self.courses.loss[known]
        return (float(losses.max()), float(losses.min())) if len(losses) else None

    def unread(self, target_loss: float) -> Unread | None:
        """The reason why no run reached a loss; None where one did."""
        if self.reached is None:
            return NothingToRead(target_loss=target_loss)
        if np.isin(
            self.courses.crossings(target_loss).outcome,
            (TargetOutcome.REACHED, TargetOutcome.EARLY),
        ).any():
            return None
        high, low = self.reached
        return NotReached(target_loss=target_loss, highest_loss=high, lowest_loss=low)

    def readings(self, target_loss: float) -> list[tuple[Arm, Readings]]:
        """Each optimizer's tokens to a loss. Raises InvalidInput where no run reached it."""
        if unread := self.unread(target_loss):
            raise InvalidInput.of("target_loss", unread_words(unread), target_loss)
        crossings = self.courses.crossings(target_loss)
        return [(arm, arm.readings(crossings)) for arm in self.arms]


def iso_loss_curve(rows: Sequence[FrontierRow]) -> Frontier:
    """The iso-loss curve of an optimizer."""
    best = [row for row in rows if row.on_frontier]
    return Frontier.of([row.devices for row in best], [row.hours or 0.0 for row in best])
