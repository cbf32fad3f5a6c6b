"""Specification of a run's length, batch size and learning-rate schedule, and of the trunk that it
may branch off."""

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from telescope.errors import Problem
from telescope.trials.data import DataSpec
from telescope.trials.types import STRICT, Count, Fraction, Positive

# The first steps of a run that measures time are not timed, since they are slower. Neither is its
# last step, which ends in an evaluation.
UNTIMED_STEPS = 5


@dataclass(frozen=True, kw_only=True, config=STRICT)
class HorizonSpec:
    """Length, batch size and learning-rate schedule of a trial."""

    steps: Count
    """Number of optimizer steps."""
    batch_tokens: Count
    """Tokens per optimizer step; a multiple of the context."""
    micro_batch_tokens: Count | None = None
    """Tokens per forward pass, for batches that do not fit into memory; gradients accumulate. A
    divisor of batch_tokens and a multiple of the context; by default batch_tokens."""
    warmup_fraction: Fraction = 0.1
    """Share of the steps in which the learning rate rises from zero."""
    decay: Literal["linear", "cosine", "constant", "wsd"] = "linear"
    """The learning rate after warm-up: linear or cosine decay, constant, or wsd (constant, then
    linear decay in the last decay_fraction of the steps)."""
    decay_fraction: Fraction = 0.2
    """For wsd: share of the steps in which the learning rate decays."""
    final_lr_fraction: Fraction = 0.0
    """Learning rate at the end of the decay, as a share of the highest learning rate."""
    evaluation_tokens: Count = 16_384
    """Number of held-out tokens that the loss is measured on, in whole windows, at least one per
    corpus; fewer if fewer are held out. They are the same tokens for every trial."""
    evaluate_every: Count | None = None
    """Steps between evaluations of the held-out loss; by default only at the end."""
    record_every: Count | None = None
    """Steps between points of the curve; by default the smallest interval that gives at most 60
    points. Each evaluation of the held-out loss adds a point, too."""
    stop_below_loss: Positive | None = None
    """End the run at the first held-out loss at or below this value, in nats per token; needs
    evaluate_every. Not available in telescope jobs: all their runs would end at the same loss."""

    @model_validator(mode="after")
    def _require_consistent(self) -> "HorizonSpec":
        micro = self.micro_batch_tokens
        if micro is not None and self.batch_tokens % micro:
            raise ValueError(
                f"micro_batch_tokens {micro} does not divide batch_tokens {self.batch_tokens}; use "
                "a divisor of it"
            )
        if self.stop_below_loss is not None and self.evaluate_every is None:
            raise ValueError(
                "stop_below_loss needs held-out losses during the run; give evaluate_every, too"
            )
        return self

    @property
    def record_interval(self) -> int:
        return self.record_every or max(1, math.ceil(self.steps / 60))

    @property
    def tokens(self) -> int:
        return self.steps * self.batch_tokens


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Branch:
    """The trunk and the step from which a run may continue: up to this step, run and trunk have the
    same model, optimizer, data, seed and learning rates."""

    trunk: Annotated[str, Field(min_length=32, max_length=32)]
    """Digest of the trial that takes the first steps; `step` is one of its `kept_steps`."""
    step: Count
    """Number of steps that the two trials share."""


def batch_problem(data: DataSpec, horizon: HorizonSpec) -> Problem | None:
    """The problem of a horizon whose batches are not whole windows of the data's context, or None;
    the problem's field is relative to the horizon."""
    for name, tokens in (
        ("batch_tokens", horizon.batch_tokens),
        ("micro_batch_tokens", horizon.micro_batch_tokens),
    ):
        if tokens is not None and tokens < data.context:
            message = (
                f"{name} {tokens} is smaller than one context of {data.context} tokens; use a "
                f"multiple of {data.context}"
            )
            return Problem(name, message, tokens)
        if tokens is not None and tokens % data.context:
            below = tokens // data.context * data.context
            message = (
                f"{name} {tokens} is not a multiple of the context, {data.context} tokens; use "
                f"{below} or {below + data.context}"
            )
            return Problem(name, message, tokens)
    return None
