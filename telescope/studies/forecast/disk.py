"""The disk that a study takes.

Curves are kept: the size of a curve is that of a synthetic curve of as many points in the encoding
in use, and of its outline. Checkpoints are deleted when their trial has ended: at any time each
running trial has at most its newest two, of parameters and optimizer state in float32.
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
COLUMNS = 2  # of an outline: tokens, loss
STATES = {"muon": 1, "adamw": 2}  # per parameter: momentum; both moments
KEPT = 2  # checkpoints of a running trial
LATE_METRICS = 15  # that only the last point has
MOST_POINTS = 5_000  # of a synthetic curve; longer curves are scaled in proportion


@dataclass(frozen=True)
class Disk:
    """Bytes of all curves in the end, and of checkpoints at most at any time."""

    curves_bytes: int
    checkpoint_bytes: int


def curve_bytes(spec: TrialSpec, encode: Callable[[Sequence[Measurement]], bytes]) -> int:
    """Bytes of a trial's encoded curve and its outline."""
    horizon = spec.horizon
    points = math.ceil(horizon.steps / horizon.record_interval)
    imitated = min(points, MOST_POINTS)
    curve = [
        imitation(spec, (i + 1) * horizon.record_interval, i + 1 == imitated)
        for i in range(imitated)
    ]
    outline = COLUMNS * FLOAT_BYTES * min(points, POINTS)
    return math.ceil(len(encode(curve)) * points / imitated) + outline


def imitation(spec: TrialSpec, step: int, last: bool) -> Measurement:
    """A synthetic point, with digits like those of a measured point."""
    loss = 2 + 3 / math.sqrt(step) + 0.1 * math.sin(step**2)
    metrics = {"train_loss": loss}
    if last:
        metrics |= {"loss": loss} | {
            f"{LATE}update/a_layer_{i:03}": loss * math.sqrt(2 + i) for i in range(LATE_METRICS)
        }
    return Measurement(
        step, step * spec.horizon.batch_tokens, step * math.pi * 1e9, step * math.e / 100, metrics
    )


def checkpoint_bytes(spec: TrialSpec) -> int:
    """Bytes of a running trial's checkpoints."""
    # 0 before the data are resolved
    groups = describe_groups(
        spec.model, max(1, spec.data.vocab_size), spec.optimizer, spec.data.context
    )
    return (
        KEPT
        * FLOAT_BYTES
        * sum(group.parameters * (1 + STATES[group.optimizer]) for group in groups)
    )
