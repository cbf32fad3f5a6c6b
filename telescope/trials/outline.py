"""A loss curve reduced to few points, so that ten thousand curves can be read at once.

An *outline* is loss against tokens at up to 200 points, in single precision, not compressed. If the
run measured its held-out loss at least twice, the outline holds the held-out loss; otherwise the
training loss, whose value at a point of the curve is the mean since the previous point. Losses that
are not finite are left out; divergence is recorded in the trial itself.

Parts: `Outline` · `outlined`, which makes an outline from the columns of a curve.
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
    held_out: bool  # True if `loss` is the held-out loss, False if the training loss


def outlined(tokens: ArrayLike, train_loss: ArrayLike, held_out_loss: ArrayLike) -> Outline:
    """The outline of a curve. The arguments are the curve's columns, [point]; losses are nan at
    points without a measurement. Of more than POINTS points, evenly spaced points are taken."""
    token_counts, training, held_out = (
        np.asarray(column, dtype=np.float64) for column in (tokens, train_loss, held_out_loss)
    )
    is_held_out = bool(np.isfinite(held_out).sum() > 1)
    loss = held_out if is_held_out else training
    finite = np.flatnonzero(np.isfinite(loss))
    spaced = np.linspace(0, len(finite) - 1, min(len(finite), POINTS)).round().astype(int)
    points = finite[np.unique(spaced)]
    return Outline(
        token_counts[points].astype(np.float32), loss[points].astype(np.float32), is_held_out
    )
