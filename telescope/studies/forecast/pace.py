"""The expected speed of a run.

The speed, in FLOP/s, is taken from earlier trials on the kind of worker that was used last. Trials
with the optimizer of the run are preferred. Among the preferred trials, those whose width and batch
size are closest to the run's are used; closeness is measured in octaves (doublings). Wide models
use a device better than narrow models, so a run that is wider than the earlier trials probably
reaches more FLOP/s than forecast. If there are no earlier trials, the speed is computed from
ASSUMED_FLOPS_PER_SECOND and ASSUMED_SECONDS_PER_BLOCK.

Parts: `MeasuredRate`, the measured speed of earlier trials · `Pace`, a speed and its source ·
`assumed`, the speed if there are no earlier trials · `pace`, the speed from measured rates ·
`Machine`, the facts about a machine that a forecast needs.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from typing import Protocol

import numpy as np

from telescope.trials.outcome import Measurement

ASSUMED_FLOPS_PER_SECOND = 20e9  # speed of one CPU thread on models with a width of a few hundred
# Fixed time per Transformer block and step. Small models spend most of their time on it. At width
# 16, 1.9 ms were measured with AdamW and 3.4 ms with Muon.
ASSUMED_SECONDS_PER_BLOCK = 2.5e-3
# added to the distance of trials with another optimizer; larger than realistic distances in width
# and batch size
OTHER_OPTIMIZER_OCTAVES = 100.0


class MeasuredRate(Protocol):
    """The measured speed of trials with one optimizer, width and batch size on one kind of worker.
    `numerics` names the kind of worker."""

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
    """The speed of a run, and where it comes from."""

    flops_per_second: float
    estimated: bool  # True if the speed is assumed, False if it comes from a measured rate
    source: str  # description, for users, of where the speed comes from


def assumed(step_flops: float, depth: int | None) -> Pace:
    """The assumed speed of a run with `step_flops` FLOPs per step and `depth` Transformer blocks. A
    step takes the time of its FLOPs plus a fixed time per block. A model of unknown depth (None)
    counts as one block."""
    blocks = 1 if depth is None else depth
    seconds = step_flops / ASSUMED_FLOPS_PER_SECOND + blocks * ASSUMED_SECONDS_PER_BLOCK
    speeds = (
        f"{ASSUMED_FLOPS_PER_SECOND / 1e9:.0f} GFLOP/s and "
        f"{1e3 * ASSUMED_SECONDS_PER_BLOCK:.1f} ms per block and step"
    )
    source = f"no earlier runs are known here; the assumed speed is {speeds}, as on one CPU thread"
    return Pace(step_flops / seconds, estimated=True, source=source)


def pace(rates: Sequence[MeasuredRate], optimizer: str, width: int, batch_tokens: int) -> Pace:
    """The speed of a run with this optimizer, width and batch size. `rates` must not be empty, and
    must be sorted with the latest first."""

    def distance(rate: MeasuredRate) -> tuple[float, float]:
        """A sort key: the distance of a rate in octaves, then its FLOP/s. Of two rates at the same
        distance, the slower one comes first."""
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
    """A curve as uncompressed float64 numbers: step, tokens, FLOPs, seconds and metrics of each
    point."""
    return b"".join(
        np.array([*astuple(point)[:4], *point.metrics.values()]).tobytes() for point in points
    )


@dataclass(frozen=True)
class Machine:
    """The facts about a machine that determine how long a study takes there, and how much disk
    space the study needs."""

    rates: tuple[MeasuredRate, ...] = ()  # rates of earlier trials, the latest first
    slots: int | None = None  # number of trials that run at the same time; None if unknown
    # returns the bytes that are stored for a curve
    encode: Callable[[Sequence[Measurement]], bytes] = encoded_columns
