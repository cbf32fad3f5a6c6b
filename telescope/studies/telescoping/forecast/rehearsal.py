"""Rehearsals: simulations of a study before any model is trained.

The study's schedule is run on a few *bowls*. A bowl is a loss that is given by a formula, with a
known optimum. The forecast consists of the stages of runs on these bowls, and of the error of the
final answer. Each bowl is drawn with a fixed seed. The assumptions about bowls cover the range that
reference studies of small models showed:

- The curvature is 0.25 to 1.1 % of the loss per octave^2 of the learning rate (an octave is a
  factor of 2). The other hyperparameters are 3 to 10 times flatter.
- The optimum at the base width lies in the middle half of the range. From the base width to the
  target width, it drifts by up to 1.5 octaves, by one of the drift laws in `ladder.pooled`.
- The noise of a run has a standard deviation of 0.2 % of the loss. Runs of the same width and seed
  share a part of this noise: 0.4 of its variance.
- No run diverges.
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

# noise of a run: its standard deviation in % of the loss, and the share of its variance that is due
# to the seed
NOISE, SEED_SHARE = 0.2, 0.4
# s and m in `ladder.bowl`; largest drift from the base width to the target, in octaves
SKEW, CROSS, MOST_DRIFT = 0.65, 0.2, 1.5
ASSUMES = (
    f"an optimum inside the range, noise of {NOISE} % of the loss, "
    f"a drift of up to {MOST_DRIFT} octaves, and no divergence"
)


@dataclass(frozen=True, eq=False)
class Bowl:
    """A loss given by a formula, over the axes of a ladder. A *ladder* searches the hyperparameters
    of one optimizer at increasing widths, and its *axes* are the swept hyperparameters, in octaves.
    The methods take a width as `doublings`, the number of doublings from the base width.
    """

    number: int  # seed of the bowl's parameters and noise
    base: Array  # [axis], the optimum at the base width
    drift: Array  # [axis], optimum at the base width minus optimum at the target, in octaves
    phi: float  # parameter of the drift law, as in `ladder.bowl`
    curvature: float  # along the learning rate, in % of the loss per octave^2
    flatness: Array  # [axis], curvature along the learning rate / curvature along the axis
    target_doublings: float  # number of doublings from the base width to the target

    @classmethod
    def drawn(cls, ladder: Ladder, number: int) -> "Bowl":
        """The bowl that the seed `number` gives for a ladder."""
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
            target_doublings=ladder.doublings,
        )

    def optimum(self, doublings: float) -> Array:
        """The optimum [axis] at a width, in octaves."""
        t = self.target_doublings
        if t == 0:
            return self.base
        inverse = (2.0**-doublings - 2.0**-t) / (1 - 2.0**-t)
        share_left = inverse + self.phi * ((t - doublings) / t - inverse)
        moved: Array = self.base - self.drift * (1 - share_left)
        return moved

    def excess(self, doublings: float, x: Array) -> Array:
        """By how many % the loss at `x` exceeds the loss at the optimum of a width. `x` has shape
        [..., axis], and the result has shape [...].
        """
        u = x - self.optimum(doublings)
        v = u[..., 0] + CROSS * u[..., 1:].sum(-1)
        result: Array = self.curvature * (
            skewed(v, np.array(SKEW)) + (u[..., 1:] ** 2 / self.flatness[1:]).sum(-1)
        )
        return result

    def loss(self, ladder: Ladder, point: Point) -> float:
        """The loss of a run, including its noise. Without noise, the loss at the optimum is 1 at
        every width.
        """
        doublings = (*ladder.level_doublings, ladder.doublings)[point.level]
        key = [self.number, point.level, point.seed]
        seed_noise = np.random.default_rng(key).standard_normal()
        run_noise = np.random.default_rng(
            [*key, *(round(64 * x) % 2**32 for x in point.x)]
        ).standard_normal()
        shared, own = math.sqrt(SEED_SHARE), math.sqrt(1 - SEED_SHARE)
        noise = NOISE * (shared * seed_noise + own * run_noise)
        return 1 + (float(self.excess(doublings, np.array(point.x))) + float(noise)) / 100


@dataclass(frozen=True)
class Rehearsal:
    """The stages of a schedule on a bowl, and the error and the regret of the final answer."""

    stages: tuple[tuple[str, tuple[tuple[int, int], ...]], ...]  # (name, ((level, runs), ...))
    error: float  # error of the learning rate at the target, in octaves
    regret: float  # by how many % the loss at the target exceeds the lowest possible loss

    def runs(self, *names: str) -> dict[int, int]:
        """The number of runs per level in the stages with these names, or in all stages if no name
        is given.
        """
        total = Counter[int]()
        for name, levels in self.stages:
            if not names or name in names:
                total.update(dict(levels))
        return dict(total)


@lru_cache(maxsize=256)
def rehearse(question: Question, ladder: Ladder, number: int) -> Rehearsal:
    """The result of the study's schedule on the bowl with this `number`. The study's limits on
    trials and FLOPs apply, and must allow the first stage. The coordinate check and the runs at the
    target are left out.
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
