"""The seconds that a run will take.

By the rate at which trials of the nearest shape were trained before on the latest kind of worker: same optimizer first, then
the fewest octaves of width and batch away. Wide models use a device better than narrow ones, so a narrower neighbour's rate
is a cautious one. Without any, ASSUMED_FLOPS_PER_SECOND and ASSUMED_SECONDS_PER_BLOCK are taken, and said to be.

Parts: `Rate`, what a database knows · `pace`, `assumed` -> `Pace` · `Machine`, where a study would run.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from typing import Protocol

import numpy as np

from telescope.trials.outcome import Measurement

ASSUMED_FLOPS_PER_SECOND = 20e9  # one thread of a CPU, on models of a few hundred in width
ASSUMED_SECONDS_PER_BLOCK = 2.5e-3  # and step, which no model is too small for: 1.9 (AdamW) to 3.4 ms (Muon) measured at width 16
OTHER_OPTIMIZER = 100.0  # octaves that another optimizer counts for: taken only where there is no trial of this one


class Rate(Protocol):
    """How fast trials of one shape were trained, on one kind of worker."""

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
    """The speed of one run, and where the figure comes from."""

    flops_per_second: float
    estimated: bool  # assumed: no run of any shape is known
    source: str


def assumed(step_flops: float, depth: int | None) -> Pace:
    """The speed of a run of which nothing is known: a fixed cost per step of so many blocks, and the time that its operations take.

    A model whose blocks nobody knows (None) has one at least.
    """
    blocks = 1 if depth is None else depth
    seconds = step_flops / ASSUMED_FLOPS_PER_SECOND + blocks * ASSUMED_SECONDS_PER_BLOCK
    speeds = f"{ASSUMED_FLOPS_PER_SECOND / 1e9:.0f} GFLOP/s and {1e3 * ASSUMED_SECONDS_PER_BLOCK:.1f} ms per block and step"
    return Pace(step_flops / seconds, True, f"no run is known here yet, so {speeds} are assumed, those of one CPU thread")


def pace(rates: Sequence[Rate], optimizer: str, width: int, batch_tokens: int) -> Pace:
    """The speed of a run of this shape, by rates, of which there must be some, in the order of how lately they were seen."""

    def octaves(rate: Rate) -> tuple[float, float]:
        """How far a shape is off; among equals the slower rate is the cautious one."""
        shape = abs(math.log2(rate.width / width)) + abs(math.log2(rate.batch_tokens / batch_tokens))
        return shape + OTHER_OPTIMIZER * (rate.optimizer != optimizer), rate.flops_per_second

    near = min((rate for rate in rates if rate.numerics == rates[0].numerics), key=octaves)
    shape = f"{near.optimizer} at width {near.width}, batches of {near.batch_tokens} tokens"
    return Pace(near.flops_per_second, False, f"{near.trials} runs of {shape}, {near.numerics}")


def columns(points: Sequence[Measurement]) -> bytes:
    """A curve as plain float64: step, tokens, flops, seconds and metrics of every point."""
    return b"".join(np.array([*astuple(point)[:4], *point.metrics.values()]).tobytes() for point in points)


@dataclass(frozen=True)
class Machine:
    """Where a study would run: speeds known from earlier trials, trials at once, and how curves are kept."""

    rates: tuple[Rate, ...] = ()
    slots: int | None = None
    encode: Callable[[Sequence[Measurement]], bytes] = columns
