"""The runs that the pooled model is fitted to, as arrays.

A *ladder* is the search of one optimizer over growing widths, its *levels*. The *pooled model*
describes the losses at all levels by a *bowl*, the form of the loss around the optimum. A *block*
consists of the runs of one level and seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from telescope.statistics.estimates import Array
from telescope.studies.telescoping.ladder.bowl import ParameterSlots, bowl

ETA = 0.15  # standard deviation of the error in the bowl's form, as a share of the bowl's height


@dataclass(frozen=True)
class FittedRun:
    """A run that the pooled model is fitted to. Its loss is finite."""

    level: int
    x: tuple[float, ...]  # position on each fitted axis, in octaves
    block: int  # seed, which identifies the block within its level
    loss: float


@dataclass(frozen=True, eq=False)
class Sample:
    """The runs of a fit, as arrays."""

    level: NDArray[np.int64]  # [run]
    x: Array  # [run, axis], position in octaves
    z: Array  # [run], excess of the loss over the lowest loss of the run's level, in %
    member: Array  # [run, block], 1 if the run is in the block, else 0
    best: Array  # [level], lowest loss of the level; infinite if the level has no run

    @classmethod
    def of(cls, runs: Sequence[FittedRun]) -> "Sample":
        """The arrays of these runs. Blocks are sorted by level, then by seed."""
        level = np.array([run.level for run in runs], dtype=np.int64)
        loss = np.array([run.loss for run in runs])
        best = np.array([loss[level == i].min(initial=np.inf) for i in range(level.max() + 1)])
        blocks = sorted({(run.level, run.block) for run in runs})
        member = np.array(
            [[(run.level, run.block) == block for block in blocks] for run in runs],
            dtype=np.float64,
        )
        return cls(
            level, np.array([run.x for run in runs]), 100 * (loss / best[level] - 1), member, best
        )

    def block_means(self, values: Array, weights: Array) -> Array:
        """Weighted means over the runs of each block. `values` has shape [run, ...], `weights` has
        shape [run], and the result has shape [block, ...].
        """
        result: Array = (
            (self.member.T * weights)
            @ values
            / (self.member.T @ weights).reshape(-1, *[1] * (values.ndim - 1))
        )
        return result

    def centred(self, values: Array, weights: Array) -> Array:
        """The values [run, ...], minus the weighted mean of each run's block. The subtraction
        cancels the constant that the pooled model adds to the losses of a block.
        """
        result: Array = values - self.member @ self.block_means(values, weights)
        return result

    def variance(self, heights: Array, sigma: float) -> Array:
        """The variance [run] of the pooled model's error, in (% of the loss)^2. `heights` [run] are
        the fitted heights of the bowl, and `sigma` is the noise of a run in % of the loss. The
        standard deviation due to the bowl's form is ETA times the fitted height or z, whichever is
        larger.
        """
        return sigma**2 + (ETA * np.maximum(heights, self.z)) ** 2

    def linearised(self, layout: ParameterSlots, theta: Array) -> tuple[Array, Array]:
        """The heights [run] of the bowl, and their numerical derivatives [run, parameter] with
        respect to the parameters.
        """
        step = 1e-4
        heights = bowl(
            layout, np.vstack([theta, theta + step * np.eye(layout.size)]), self.level, self.x
        )
        return heights[0], (heights[1:] - heights[0]).T / step
