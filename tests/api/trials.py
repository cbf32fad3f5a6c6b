"""Small specs, curves and job documents for tests of the service."""

import math
from collections.abc import Iterable

from telescope.studies.kind import Label, Planned
from telescope.trials.data import DataSpec
from telescope.trials.horizon import HorizonSpec
from telescope.trials.model import ModelSpec
from telescope.trials.optimizer import OptimizerSpec
from telescope.trials.outcome import Measurement, Trial, completed
from telescope.trials.spec import TrialSpec

DOCUMENT = {
    "kind": "telescope",
    "name": "a job",
    "limits": {"max_parallel": 3, "max_seconds": None},
}


def spec(
    seed: int = 0, *, width: int = 32, lr: float = 0.01, steps: int = 10, optimizer: str = "adamw"
) -> TrialSpec:
    return TrialSpec(
        model=ModelSpec(width=width, base_width=32, head_dim=16),
        optimizer=OptimizerSpec(name=optimizer, lr=lr, weight_decay=0.1),
        data=DataSpec(corpus="none", context=16, content="none", vocab_size=256),
        horizon=HorizonSpec(steps=steps, batch_tokens=32),
        seed=seed,
    )


def point(step: int, **metrics: float) -> Measurement:
    return Measurement(
        step, 32 * step, 1e6 * step, 0.1 * step, metrics or {"train_loss": 5.0 - 0.1 * step}
    )


def points(first: int, last: int) -> tuple[Measurement, ...]:
    return tuple(point(step) for step in range(first, last + 1))


def outcome(
    spec: TrialSpec, loss: float = 3.0, attempt: int = 1
) -> tuple[Trial, tuple[Measurement, ...]]:
    """A completed trial, and the last point of its curve."""
    train_loss = loss if math.isfinite(loss) else math.nan
    last = point(spec.horizon.steps, train_loss=train_loss, loss=loss)
    return completed(spec, (last,), attempt), (last,)


def labelled(specs: Iterable[TrialSpec]) -> tuple[Planned, ...]:
    """Plan specs at the first level of the ladder of their optimizer."""
    return tuple(Planned(spec, Label(spec.optimizer.name, "grid", 0)) for spec in specs)
