"""Rehearsals: simulations of a study before any model is trained.

The study's schedule is run on a few closed-form bowls whose optimum is known. The cost of the
stages and the final error on these bowls are the forecast. The bowls are drawn with fixed seeds
from the range that reference studies of small models showed:

- the curvature is 0.25 to 1.1 % of the loss per octave^2 of the learning rate; other axes are 3 to
  10 times flatter
- the optimum lies in the middle half of the range at the base width, and drifts by up to 1.5
  octaves from base to target, by one of the pooled model's laws
- a run's noise is 0.2 % of the loss; the runs of a seed share 0.4 of its variance
- no run diverges

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

NOISE, PAIRING = 0.2, 0.4  # sd of a run in % of the loss; share of the variance due to the seed
SKEW, CROSS, MOST_DRIFT = 0.65, 0.2, 1.5  # s and m of `ladder.bowl`; octaves from base to target
ASSUMES = (
    f"an optimum inside the range, noise of {NOISE} % of the loss, "
    f"a drift of up to {MOST_DRIFT} octaves, and no divergence"
)


@dataclass(frozen=True, eq=False)
class Bowl:
    """A loss in closed form, in octaves of a ladder's axes. The `height` of a width is the number
    of doublings from the base width to it.
    """

    number: int  # seed of the bowl's parameters and noise
    base: Array  # [axis], the optimum at the base width
    drift: Array  # [axis], octaves from base to target
    phi: float  # parameter of the drift law, as in `ladder.bowl`
    curvature: float  # % of the loss per octave^2 of the learning rate
    flatness: Array  # [axis], the learning rate's curvature / the axis's curvature
    doublings: float  # number of doublings from base to target

    @classmethod
    def drawn(cls, ladder: Ladder, number: int) -> "Bowl":
        """The bowl that the seed `number` draws over a ladder's axes."""
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
        share_left = inverse + self.phi * ((t - height) / t - inverse)
        moved: Array = self.base - self.drift * (1 - share_left)
        return moved

    def excess(self, height: float, x: Array) -> Array:
        """The loss at `x` above the loss at the optimum, in %: [..., axis] -> [...]."""
        u = x - self.optimum(height)
        v = u[..., 0] + CROSS * u[..., 1:].sum(-1)
        result: Array = self.curvature * (
            skewed(v, np.array(SKEW)) + (u[..., 1:] ** 2 / self.flatness[1:]).sum(-1)
        )
        return result

    def loss(self, ladder: Ladder, point: Point) -> float:
        """The loss of a run, including its noise."""
        height = ladder.heights[point.level] if point.level < ladder.levels else ladder.doublings
        key = [self.number, point.level, point.seed]
        seed_noise = np.random.default_rng(key).standard_normal()
        run_noise = np.random.default_rng(
            [*key, *(round(64 * x) % 2**32 for x in point.x)]
        ).standard_normal()
        noise = NOISE * (math.sqrt(PAIRING) * seed_noise + math.sqrt(1 - PAIRING) * run_noise)
        return 1 + (float(self.excess(height, np.array(point.x))) + float(noise)) / 100


@dataclass(frozen=True)
class Rehearsal:
    """The stages of a schedule on a bowl, and the error of its answer."""

    stages: tuple[tuple[str, tuple[tuple[int, int], ...]], ...]  # (name, ((level, runs), ...))
    error: float  # error of the learning rate at the target, in octaves
    regret: float  # regret at the target, in % of the loss

    def runs(self, *names: str) -> dict[int, int]:
        """The number of runs per level in the named stages; without names, in all stages."""
        total = Counter[int]()
        for name, levels in self.stages:
            if not names or name in names:
                total.update(dict(levels))
        return dict(total)


@lru_cache(maxsize=256)
def rehearse(question: Question, ladder: Ladder, number: int) -> Rehearsal:
    """Run the study's schedule on a bowl, within the study's limits and without the runs at the
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
