"""How is a run's loss curve kept so that ten thousand of them can be read at once?

As its *outline*: loss against tokens at up to 200 points, in single precision, not compressed. Of a run that measured its held-out loss at
least twice it is that; of others the training loss, each point the mean since the one before. Losses that are not finite are left out: that
a run diverged, its trial says.

Parts: `Outline` · `outlined`, of the columns of a curve.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

POINTS = 200


@dataclass(frozen=True, eq=False)
class Outline:
    """Loss against tokens."""

    tokens: NDArray[np.float32]  # [point], rising
    loss: NDArray[np.float32]  # [point], finite
    held_out: bool


def outlined(tokens: ArrayLike, train_loss: ArrayLike, held_out_loss: ArrayLike) -> Outline:
    """The outline of a curve, nan where a loss was not measured; of more points than are kept, some that lie evenly among them."""
    at, trained, held_out = (np.asarray(column, dtype=np.float64) for column in (tokens, train_loss, held_out_loss))
    is_held_out = bool(np.isfinite(held_out).sum() > 1)
    loss = held_out if is_held_out else trained
    known = np.flatnonzero(np.isfinite(loss))
    kept = known[np.unique(np.linspace(0, len(known) - 1, min(len(known), POINTS)).round().astype(int))]
    return Outline(at[kept].astype(np.float32), loss[kept].astype(np.float32), is_held_out)
