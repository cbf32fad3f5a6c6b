"""Specs small enough to train in a test."""

from dataclasses import replace

from telescope.data import batches
from telescope.trials.data import DataSpec
from telescope.trials.horizon import HorizonSpec
from telescope.trials.model import ModelSpec
from telescope.trials.optimizer import OptimizerSpec
from telescope.trials.spec import TrialSpec

MODEL = ModelSpec(width=32, base_width=16, depth=1, head_dim=8, mlp_ratio=2.0)
MUON = OptimizerSpec(name="muon", lr=0.03, weight_decay=0.1)
ADAMW = OptimizerSpec(name="adamw", lr=0.01, weight_decay=0.1)
HORIZON = HorizonSpec(steps=12, batch_tokens=128, evaluation_tokens=512, record_every=3)


def stdlib(context: int = 32) -> DataSpec:
    """python-stdlib as bytes, resolved."""
    return batches.resolve(DataSpec(corpus="python-stdlib", context=context))


def trial(
    optimizer: OptimizerSpec = MUON,
    model: ModelSpec = MODEL,
    horizon: HorizonSpec = HORIZON,
    seed: int = 0,
) -> TrialSpec:
    """A trial that trains in well under a second."""
    return TrialSpec(model=model, optimizer=optimizer, data=stdlib(), horizon=horizon, seed=seed)


__all__ = ["ADAMW", "HORIZON", "MODEL", "MUON", "replace", "stdlib", "trial"]
