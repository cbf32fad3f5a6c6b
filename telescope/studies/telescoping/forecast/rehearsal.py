"""Rehearsals: the probable course of a study, before any model is trained.

The study's schedule is folded over a few closed-form bowls whose optimum is known; the cost of the
stages and the final error there are the expected ones. The bowls are drawn with fixed seeds from
the range that reference studies of small models showed: curvature 0.25 to 1.1 % of the loss per
octave^2 of the learning rate, other axes 3 to 10 times flatter, a drift of up to 1.5 octaves from
base to target by one of the pooled model's laws, noise of 0.2 % of the loss per run with 0.4 of its
variance shared by the runs of a seed, an optimum in the middle half of the range at the base width,
and no divergence.

Parts: `Bowl` · `rehearse` -> `Rehearsal`.
"""

import math
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from telescope.statistics.estimates import Array
from telescope.studies.telescoping.fold.estimates import target_estimates
from telescope.studies.telescoping.fold.progress import exceeded, next_stage
from telescope.studies.telescoping.ladder.bowl import skewed
from telescope.studies.telescoping.ladder.ladder import Done, Ladder, Outcome, Point
from telescope.studies.telescoping.ladder.pooled import LAWS
from telescope.studies.telescoping.question.question import Question

NOISE, PAIRING = 0.2, 0.4  # % of the loss per run; share of its variance common to a seed's runs
SKEW, CROSS, MOST_DRIFT = 0.65, 0.2, 1.5
ASSUMES = (
    f"an optimum inside the range, noise of {NOISE} % of the loss, "
    f"a drift of up to {MOST_DRIFT} octaves, and no divergence"
)


@dataclass(frozen=True, eq=False)
class Bowl:
    """A loss in closed form, in octaves of a ladder's axes. A height is a width, in doublings above
    the base width.
    """

    number: int  # the seed of its parameters and noise
    base: Array  # [axis], the optimum at the base width
    drift: Array  # [axis], octaves from base to target
    phi: float  # of the drift law, as in `ladder.pooled`
    curvature: float  # % of the loss per octave^2 of the learning rate
    flatness: Array  # [axis], divided by the learning rate's
    doublings: float  # from base to target

    @classmethod
    def drawn(cls, ladder: Ladder, number: int) -> "Bowl":
        """The bowl of this number, over a ladder's axes."""
        rng, axes = np.random.default_rng(number), len(ladder.axes)
        low, high = np.array([[axis.low, axis.high] for axis in ladder.axes]).T
        return cls(
            number=number,
            base=low + rng.uniform(0.25, 0.75, axes) * (high - low),
            drift=rng.uniform(-MOST_DRIFT, MOST_DRIFT, axes),
            phi=float(
                rng.choice([phi for phi, _ in LAWS], p=[probability for _, probability in LAWS])
            ),
            curvature=float(np.exp(rng.uniform(np.log(0.25), np.log(1.1)))),
            flatness=np.array([1.0, *rng.uniform(3, 10, axes - 1)]),
            doublings=ladder.doublings,
        )

    def optimum(self, height: float) -> Array:
        """The optimum [axis] at a height; the target is at `doublings`."""
        t = self.doublings
        if t == 0:
            return self.base
        inverse = (2.0**-height - 2.0**-t) / (1 - 2.0**-t)
        left = inverse + self.phi * ((t - height) / t - inverse)
        moved: Array = self.base - self.drift * (1 - left)
        return moved

    def excess(self, height: float, x: Array) -> Array:
        """The excess in % over the loss at the optimum: [..., axis] -> [...]."""
        u = x - self.optimum(height)
        v = u[..., 0] + CROSS * u[..., 1:].sum(-1)
        result: Array = self.curvature * (
            skewed(v, np.array(SKEW)) + (u[..., 1:] ** 2 / self.flatness[1:]).sum(-1)
        )
        return result

    def loss(self, ladder: Ladder, point: Point) -> float:
        """The loss of a run, including its noise."""
        height = ladder.heights[point.level] if point.level < ladder.levels else ladder.doublings
        place = [self.number, point.level, point.seed]
        common = np.random.default_rng(place).standard_normal()
        own = np.random.default_rng(
            [*place, *(round(64 * x) % 2**32 for x in point.x)]
        ).standard_normal()
        noise = NOISE * (math.sqrt(PAIRING) * common + math.sqrt(1 - PAIRING) * own)
        return 1 + (float(self.excess(height, np.array(point.x))) + float(noise)) / 100


@dataclass(frozen=True)
class Rehearsal:
    """The course of the schedule on a bowl."""

    stages: tuple[tuple[str, tuple[tuple[int, int], ...]], ...]  # (name, ((level, runs), ...))
    error: float  # of the learning rate at the target, in octaves
    regret: float  # at the target, in % of the loss

    def runs(self, *names: str) -> dict[int, int]:
        """The runs per level in the stages of these names; without names, in all stages."""
        total = Counter[int]()
        for name, levels in self.stages:
            if not names or name in names:
                total.update(dict(levels))
        return dict(total)


@lru_cache(maxsize=256)
def rehearse(question: Question, ladder: Ladder, number: int) -> Rehearsal:
    """Fold the study's schedule over a bowl, within the study's limits, without the runs at the
    target.
    """
    bowl, done, planned = Bowl.drawn(ladder, number), list[Done](), list[Point]()
    while stage := next_stage(question.schedule, question.paper, ladder, tuple(done)):
        planned += stage.points
        if exceeded(question, ladder, planned):
            break
        done.append(
            Done(
                stage.name,
                tuple(sorted(Outcome(point, bowl.loss(ladder, point)) for point in stage.points)),
            )
        )
    estimates = target_estimates(question, ladder, done)
    reported = np.array([estimates[i].value for i in range(len(ladder.axes))])
    counts = tuple(
        (stage.name, tuple(sorted(Counter(o.point.level for o in stage.outcomes).items())))
        for stage in done
    )
    error = float(reported[0] - bowl.optimum(ladder.doublings)[0])
    return Rehearsal(counts, error, float(bowl.excess(ladder.doublings, reported)))
