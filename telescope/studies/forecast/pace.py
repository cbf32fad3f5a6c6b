"""The expected speed of a run.

It is the rate at which earlier trials of the nearest shape were trained on the kind of worker that
was used last. Trials of the same optimizer are preferred; among them, the nearest shape is the one
that is the fewest octaves of width and batch away. Wide models use a device better than narrow
ones, so the rate of a narrower shape is conservative. Without earlier trials, the rate follows from
ASSUMED_FLOPS_PER_SECOND and ASSUMED_SECONDS_PER_BLOCK, and is marked as estimated.

Parts: `MeasuredRate`, from a database · `pace`, `assumed` -> `Pace` · `Machine`, on which a study
would run.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from typing import Protocol

import numpy as np

from telescope.trials.outcome import Measurement

ASSUMED_FLOPS_PER_SECOND = 20e9  # of one CPU thread, on models a few hundred wide
# Per block and step: the floor for small models. Measured at width 16: 1.9 ms (AdamW) to 3.4 ms
# (Muon).
ASSUMED_SECONDS_PER_BLOCK = 2.5e-3
OTHER_OPTIMIZER = 100.0  # octaves: farther away than any shape of the same optimizer


class MeasuredRate(Protocol):
    """The rate at which trials of a shape were trained on a kind of worker."""

    @property
    def optimizer(self) -> str: ...
    @property
    def width(self) -> int: ...
    @property
    def batch_tokens(self) -> int: ...
    @property
    def numerics(self) -> str: ...
    @property
    def trials(self) -> int: ...
    @property
    def flops_per_second(self) -> float: ...


@dataclass(frozen=True)
class Pace:
    """The speed of a run, and its source."""

    flops_per_second: float
    estimated: bool  # assumed, since there are no measured rates
    source: str


def assumed(step_flops: float, depth: int | None) -> Pace:
    """The assumed speed of a run: the time of a step is the time of its operations plus a fixed
    time per block.

    A model of unknown depth (None) counts as one block.
    """
    blocks = 1 if depth is None else depth
    seconds = step_flops / ASSUMED_FLOPS_PER_SECOND + blocks * ASSUMED_SECONDS_PER_BLOCK
    speeds = (
        f"{ASSUMED_FLOPS_PER_SECOND / 1e9:.0f} GFLOP/s and "
        f"{1e3 * ASSUMED_SECONDS_PER_BLOCK:.1f} ms per block and step"
    )
    source = f"no earlier runs are known here; assumes {speeds}, as on one CPU thread"
    return Pace(step_flops / seconds, estimated=True, source=source)


def pace(rates: Sequence[MeasuredRate], optimizer: str, width: int, batch_tokens: int) -> Pace:
    """The speed of a run of this shape, from at least one measured rate, the latest first."""

    def distance(rate: MeasuredRate) -> tuple[float, float]:
        """Octaves to the shape of a rate; at equal distances the slower rate comes first, which is
        conservative."""
        octaves = abs(math.log2(rate.width / width))
        octaves += abs(math.log2(rate.batch_tokens / batch_tokens))
        return octaves + OTHER_OPTIMIZER * (rate.optimizer != optimizer), rate.flops_per_second

    latest = [rate for rate in rates if rate.numerics == rates[0].numerics]
    nearest = min(latest, key=distance)
    shape = (
        f"{nearest.optimizer} at width {nearest.width}, batches of {nearest.batch_tokens} tokens"
    )
    source = f"{nearest.trials} runs of {shape}, {nearest.numerics}"
    return Pace(nearest.flops_per_second, estimated=False, source=source)


def encoded_columns(points: Sequence[Measurement]) -> bytes:
    """A curve encoded as float64 without compression: step, tokens, flops, seconds and metrics of
    every point."""
    return b"".join(
        np.array([*astuple(point)[:4], *point.metrics.values()]).tobytes() for point in points
    )


@dataclass(frozen=True)
class Machine:
    """The machine on which a study would run, as far as its cost depends on it."""

    rates: tuple[MeasuredRate, ...] = ()  # of earlier trials, the latest first
    slots: int | None = None  # trials that run at once; None if unknown
    encode: Callable[[Sequence[Measurement]], bytes] = encoded_columns  # a curve as stored on disk
