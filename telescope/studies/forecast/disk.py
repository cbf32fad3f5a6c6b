"""The disk space that a study takes.

The database keeps the loss curve of a trial, and an outline: the curve, reduced to few points. The
size of a curve is estimated by encoding a synthetic curve of at most MOST_POINTS points.

A running trial keeps at most two checkpoints, each with the parameters and the optimizer state in
float32. When a trial completes, its checkpoints are deleted. Two kinds of files are not counted:
the file into which the next checkpoint is written, and the states that some trials store so that
other trials can continue from them.
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
STATES = {"muon": 1, "adamw": 2}  # number of floats of optimizer state per parameter
CHECKPOINTS = 2  # largest number of complete checkpoints that a running trial has
# assumed number of metrics that only the last point of a curve has (telescope.train.probes)
LATE_METRICS = 15
MOST_POINTS = 5_000  # points of the longest synthetic curve; longer curves are extrapolated from it


@dataclass(frozen=True)
class Disk:
    """The disk space that a study takes."""

    curves_bytes: int  # all curves and outlines, at the end of the study
    checkpoint_bytes: int  # all checkpoints of the trials that run at the same time, at most


def curve_bytes(spec: TrialSpec, encode: Callable[[Sequence[Measurement]], bytes]) -> int:
    """Bytes of a trial's encoded curve and outline. The points that `evaluate_every` adds to the
    curve are not counted."""
    horizon = spec.horizon
    points = math.ceil(horizon.steps / horizon.record_interval)
    encoded_points = min(points, MOST_POINTS)
    curve = [
        synthetic_point(spec, index * horizon.record_interval, last=index == encoded_points)
        for index in range(1, encoded_points + 1)
    ]
    outline_bytes = COLUMNS * FLOAT_BYTES * min(points, POINTS)
    return math.ceil(len(encode(curve)) * points / encoded_points) + outline_bytes


def synthetic_point(spec: TrialSpec, step: int, last: bool) -> Measurement:
    """A made-up point of a curve, with numbers that compress about as poorly as measured numbers.
    If `last` is true, the point has the additional metrics of a last point."""
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
    """The largest total size, in bytes, of the complete checkpoints of one running trial."""
    vocab_size = max(1, spec.data.vocab_size)  # vocab_size is 0 before data are resolved
    groups = describe_groups(spec.model, vocab_size, spec.optimizer, spec.data.context)
    floats = sum(group.parameters * (1 + STATES[group.optimizer]) for group in groups)
    return CHECKPOINTS * FLOAT_BYTES * floats
