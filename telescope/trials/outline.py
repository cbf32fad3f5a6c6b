"""A loss curve reduced so that ten thousand of them can be read at once.

An *outline* is loss against tokens at up to 200 points, in single precision, not compressed. If a
run measured its held-out loss at least twice, the outline holds that; otherwise the training loss,
each point the mean since the previous one. Losses that are not finite are left out; the trial
records that a run diverged.

Parts: `Outline` · `outlined`, made from the columns of a curve.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

POINTS = 200


@dataclass(frozen=True, eq=False)
class Outline:
    """Loss against tokens at up to 200 points."""

    tokens: NDArray[np.float32]  # [point], rising
    loss: NDArray[np.float32]  # [point], finite
    held_out: bool


def outlined(tokens: ArrayLike, train_loss: ArrayLike, held_out_loss: ArrayLike) -> Outline:
    """The outline of a curve, whose losses are nan at points without a measurement. Of more points
    than an outline holds, evenly spaced ones stay."""
    at, trained, held_out = (
        np.asarray(column, dtype=np.float64) for column in (tokens, train_loss, held_out_loss)
    )
    is_held_out = bool(np.isfinite(held_out).sum() > 1)
    loss = held_out if is_held_out else trained
    known = np.flatnonzero(np.isfinite(loss))
    kept = known[
        np.unique(np.linspace(0, len(known) - 1, min(len(known), POINTS)).round().astype(int))
    ]
    return Outline(at[kept].astype(np.float32), loss[kept].astype(np.float32), is_held_out)
