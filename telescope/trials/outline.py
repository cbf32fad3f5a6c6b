"""Outlines: loss curves reduced to few points, so that ten thousand of them can be read at once.

An *outline* holds the loss of a run against the number of tokens, at up to 200 points and in single
precision. If the run measured at least two finite held-out losses, these are the losses of the
outline. Otherwise, the outline holds the training loss, whose value at a point of the curve is the
mean since the previous point. Losses that are not finite are left out, since the trial records
whether it diverged.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

POINTS = 200


@dataclass(frozen=True, eq=False)
class Outline:
    """The loss of a run against the number of tokens, at up to 200 points."""

    tokens: NDArray[np.float32]  # shape (points): number of tokens so far, rising
    loss: NDArray[np.float32]  # shape (points): all values are finite
    held_out: bool  # True if `loss` is the held-out loss, False if the training loss


def outlined(tokens: ArrayLike, train_loss: ArrayLike, held_out_loss: ArrayLike) -> Outline:
    """The outline of a curve. Each argument has one value per point of the curve. A loss is nan at
    a point where it was not measured. If more than POINTS points have a finite loss, the outline
    has POINTS of them, evenly spaced."""
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
