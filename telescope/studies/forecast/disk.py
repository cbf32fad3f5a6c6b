"""The disk space that a study takes.

Curves are kept. The size of a curve is estimated by encoding a synthetic curve with the same number
of points, and includes the curve's outline. Checkpoints are deleted when their trial has ended. A
running trial has at most two checkpoints, each with parameters and optimizer state in float32. The
states that trunks store for their branches are not counted.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from telescope.optim.groups import describe_groups
from telescope.train.probes import LATE
from telescope.trials.outcome import Measurement
from telescope.trials.outline import POINTS
from telescope.trials.spec import TrialSpec

FLOAT_BYTES = 4
COLUMNS = 2  # columns of an outline: tokens, loss
STATES = {"muon": 1, "adamw": 2}  # floats of optimizer state per parameter
CHECKPOINTS = 2  # most checkpoints of a running trial
LATE_METRICS = 15  # number of metrics that only the last point has
MOST_POINTS = 5_000  # most points of a synthetic curve; a longer curve is in proportion


@dataclass(frozen=True)
class Disk:
    """The disk space that a study takes."""

    curves_bytes: int  # all curves, at the end of the study
    checkpoint_bytes: int  # checkpoints of all running trials, when they take the most


def curve_bytes(spec: TrialSpec, encode: Callable[[Sequence[Measurement]], bytes]) -> int:
    """Bytes of a trial's encoded curve and its outline."""
    horizon = spec.horizon
    points = math.ceil(horizon.steps / horizon.record_interval)
    sample = min(points, MOST_POINTS)
    curve = [
        synthetic_point(spec, index * horizon.record_interval, last=index == sample)
        for index in range(1, sample + 1)
    ]
    outline_bytes = COLUMNS * FLOAT_BYTES * min(points, POINTS)
    return math.ceil(len(encode(curve)) * points / sample) + outline_bytes


def synthetic_point(spec: TrialSpec, step: int, last: bool) -> Measurement:
    """A point that compresses as poorly as a measured point."""
    loss = 2 + 3 / math.sqrt(step) + 0.1 * math.sin(step**2)
    metrics = {"train_loss": loss}
    if last:
        metrics["loss"] = loss
        metrics |= {
            f"{LATE}update/a_layer_{i:03}": loss * math.sqrt(2 + i) for i in range(LATE_METRICS)
        }
    return Measurement(
        step=step,
        tokens=step * spec.horizon.batch_tokens,
        flops=step * math.pi * 1e9,
        seconds=step * math.e / 100,
        metrics=metrics,
    )


def checkpoint_bytes(spec: TrialSpec) -> int:
    """Most bytes of a running trial's checkpoints."""
    vocab_size = max(1, spec.data.vocab_size)  # vocab_size is 0 before data are resolved
    groups = describe_groups(spec.model, vocab_size, spec.optimizer, spec.data.context)
    floats = sum(group.parameters * (1 + STATES[group.optimizer]) for group in groups)
    return CHECKPOINTS * FLOAT_BYTES * floats
