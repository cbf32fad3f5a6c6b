"""The expected speed of a run.

It is the rate at which trials of the nearest shape were trained before on the latest kind of
worker: first the same optimizer, then the fewest octaves of width and batch away. Wide models use a
device better than narrow ones, so a narrower neighbour's rate is conservative. Without earlier
trials, ASSUMED_FLOPS_PER_SECOND and ASSUMED_SECONDS_PER_BLOCK apply, and the result is marked as
estimated.

Parts: `MeasuredRate`, from a database · `pace`, `assumed` -> `Pace` · `Machine`, where a study
would run.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from typing import Protocol

import numpy as np

from telescope.trials.outcome import Measurement

ASSUMED_FLOPS_PER_SECOND = 20e9  # one thread of a CPU, on models of a few hundred in width
# And step, a floor for small models: 1.9 (AdamW) to 3.4 ms (Muon) measured at width 16.
ASSUMED_SECONDS_PER_BLOCK = 2.5e-3
OTHER_OPTIMIZER = 100.0  # octaves of distance, so that it is used only as a last resort


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
    """The speed of a run, and the source of the figure."""

    flops_per_second: float
    estimated: bool  # assumed, since no run of any shape is known
    source: str


def assumed(step_flops: float, depth: int | None) -> Pace:
    """The speed of an unknown run: a fixed cost per block and step, and the time of its operations.

    A model of unknown depth (None) counts as one block.
    """
    blocks = 1 if depth is None else depth
    seconds = step_flops / ASSUMED_FLOPS_PER_SECOND + blocks * ASSUMED_SECONDS_PER_BLOCK
    speeds = f"{ASSUMED_FLOPS_PER_SECOND / 1e9:.0f} GFLOP/s and {1e3 * ASSUMED_SECONDS_PER_BLOCK:.1f} ms per block and step"
    return Pace(
        step_flops / seconds,
        True,
        f"no earlier runs are known here; assumes {speeds}, as on one CPU thread",
    )


def pace(rates: Sequence[MeasuredRate], optimizer: str, width: int, batch_tokens: int) -> Pace:
    """The speed of a run of this shape, by rates, the latest first; there must be at least one."""

    def octaves(rate: MeasuredRate) -> tuple[float, float]:
        """The distance of a shape; among equals the slower rate is the conservative one."""
        shape = abs(math.log2(rate.width / width)) + abs(
            math.log2(rate.batch_tokens / batch_tokens)
        )
        return shape + OTHER_OPTIMIZER * (rate.optimizer != optimizer), rate.flops_per_second

    near = min((rate for rate in rates if rate.numerics == rates[0].numerics), key=octaves)
    shape = f"{near.optimizer} at width {near.width}, batches of {near.batch_tokens} tokens"
    return Pace(near.flops_per_second, False, f"{near.trials} runs of {shape}, {near.numerics}")


def encoded_columns(points: Sequence[Measurement]) -> bytes:
    """A curve encoded as plain float64: step, tokens, flops, seconds and metrics of every point."""
    return b"".join(
        np.array([*astuple(point)[:4], *point.metrics.values()]).tobytes() for point in points
    )


@dataclass(frozen=True)
class Machine:
    """The machine on which a study would run: speeds of earlier trials, parallel trials, and the
    encoding of curves.
    """

    rates: tuple[MeasuredRate, ...] = ()
    slots: int | None = None
    encode: Callable[[Sequence[Measurement]], bytes] = encoded_columns
