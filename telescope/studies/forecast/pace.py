"""The expected speed of a run.

The speed is the rate at which earlier trials were trained on the kind of worker that was used last.
Trials of the same optimizer are preferred and, among these, trials of the nearest shape: the fewest
octaves of width and batch away. Wide models use a device better than narrow models, so the rate of
a narrower shape is conservative. Without earlier trials, the speed follows from
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

ASSUMED_FLOPS_PER_SECOND = 20e9  # speed of one CPU thread on models a few hundred wide
# Time per Transformer block and step, which dominates in small models. Measured at width 16: 1.9 ms
# with AdamW, 3.4 ms with Muon.
ASSUMED_SECONDS_PER_BLOCK = 2.5e-3
OTHER_OPTIMIZER_OCTAVES = 100.0  # a distance larger than between any two shapes


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
    estimated: bool  # True if the speed is assumed, for lack of measured rates
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
    """The speed of a run of this shape, from one or more measured rates, the latest first."""

    def distance(rate: MeasuredRate) -> tuple[float, float]:
        """Octaves to the shape of a rate, then the rate: of two equally near rates, the slower is
        taken, to be conservative."""
        octaves = abs(math.log2(rate.width / width))
        octaves += abs(math.log2(rate.batch_tokens / batch_tokens))
        octaves += OTHER_OPTIMIZER_OCTAVES * (rate.optimizer != optimizer)
        return octaves, rate.flops_per_second

    latest = [rate for rate in rates if rate.numerics == rates[0].numerics]
    nearest = min(latest, key=distance)
    shape = (
        f"{nearest.optimizer} at width {nearest.width}, batches of {nearest.batch_tokens} tokens"
    )
    source = f"{nearest.trials} runs of {shape}, {nearest.numerics}"
    return Pace(nearest.flops_per_second, estimated=False, source=source)


def encoded_columns(points: Sequence[Measurement]) -> bytes:
    """A curve as bytes: step, tokens, flops, seconds and metrics of every point, as float64 without
    compression."""
    return b"".join(
        np.array([*astuple(point)[:4], *point.metrics.values()]).tobytes() for point in points
    )


@dataclass(frozen=True)
class Machine:
    """The facts about a machine that determine what a study costs there."""

    rates: tuple[MeasuredRate, ...] = ()  # rates of earlier trials, the latest first
    slots: int | None = None  # number of trials that run at once; None if unknown
    # encodes a curve as it is stored
    encode: Callable[[Sequence[Measurement]], bytes] = encoded_columns
