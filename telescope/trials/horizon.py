"""Specification of a run's length, batch size and learning-rate schedule.

A run may be a *branch*: it then continues from a saved state of another run, its *trunk*.
"""

import math
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from telescope.errors import Problem
from telescope.trials.data import AnyData
from telescope.trials.types import STRICT, Count, Fraction, Positive, require_none

# If a run measures the time of a step, this number of steps at its start are not timed, since they
# are slower. The last step is not timed either, since an evaluation follows it.
UNTIMED_STEPS = 5


@dataclass(frozen=True, kw_only=True, config=STRICT)
class HorizonSpec:
    """Length, batch size and learning-rate schedule of a trial."""

    # On a table (telescope.trials.table), the last batch of an epoch may have fewer than
    # `batch_tokens` tokens, and an evaluation reads all rows, whatever `evaluation_tokens` is.

    steps: Count
    """Number of optimizer steps."""
    batch_tokens: Count
    """Number of tokens in a batch, which is used in one optimizer step. It must be a multiple of
    the context."""
    micro_batch_tokens: Count | None = None
    """For texts: number of tokens in a forward pass, for batches that do not fit into memory. The
    optimizer uses the mean gradient of all forward passes of a batch. The number must be a divisor
    of batch_tokens and a multiple of the context. By default, it is batch_tokens."""
    warmup_fraction: Fraction = 0.1
    """Share of the steps, at the start, in which the learning rate rises linearly to its highest
    value."""
    decay: Literal["linear", "cosine", "constant", "wsd"] = "linear"
    """The learning rate after warm-up. linear: it decays linearly. cosine: it decays along a
    cosine. constant: it stays constant. wsd: it is constant at first, and decays linearly in the
    last steps (see decay_fraction)."""
    decay_fraction: Fraction = 0.2
    """For wsd: share of the steps, at the end, in which the learning rate decays."""
    final_lr_fraction: Fraction = 0.0
    """Learning rate at the end of the decay, one step after the last step, divided by the highest
    learning rate."""
    evaluation_tokens: Count = 16_384
    """Approximate number of held-out tokens on which the loss is measured. The tokens form whole
    windows, at least one per corpus. The windows do not depend on the seed. If too few windows of a
    corpus are held out, the loss is measured on all of them."""
    evaluate_every: Count | None = None
    """Number of steps between two measurements of the held-out loss. The loss is also measured
    after the last step. By default, it is measured only then."""
    record_every: Count | None = None
    """Number of steps between two points of the loss curve. By default, it is steps / 60, rounded
    up, which gives at most 60 points. Each measurement of the held-out loss adds a point, too."""
    stop_below_loss: Positive | None = None
    """For texts: end the run at the first held-out loss at or below this value, in nats per token.
    Needs evaluate_every. Jobs of the kind `telescope` cannot use the field: they compare the final
    losses of runs, which would then be almost equal."""

    sustained_evaluations: Count | None = None
    """For tables: generalisation counts as sustained after this number of evaluations in a row with
    an accuracy of at least 95 % on the held-out rows. Needs evaluate_every."""
    stop_when_sustained: bool = False
    """For tables: end the run once it has memorised and crossed, and its generalisation is
    sustained (see the glossary). Needs sustained_evaluations."""

    @model_validator(mode="after")
    def _require_consistent(self) -> "HorizonSpec":
        require_none(_horizon_problems(self))
        return self

    @property
    def record_interval(self) -> int:
        return self.record_every or max(1, math.ceil(self.steps / 60))

    @property
    def tokens(self) -> int:
        return self.steps * self.batch_tokens


def _horizon_problems(horizon: HorizonSpec) -> Iterator[Problem]:
    """Problems of fields that contradict each other."""
    micro, batch = horizon.micro_batch_tokens, horizon.batch_tokens
    if micro is not None and batch % micro:
        message = (
            f"does not divide batch_tokens {batch}; use a divisor of {batch} that is a multiple of "
            "the context, or change batch_tokens, too"
        )
        yield Problem("micro_batch_tokens", message, micro)
    if horizon.evaluate_every is None:
        for name in ("stop_below_loss", "sustained_evaluations"):
            if (value := getattr(horizon, name)) is not None:
                message = (
                    "needs evaluations during the run; give evaluate_every, too, or leave out "
                    f"{name}"
                )
                yield Problem(name, message, value)
    if horizon.stop_when_sustained and horizon.sustained_evaluations is None:
        message = "needs sustained_evaluations; give a number, or leave out stop_when_sustained"
        yield Problem("stop_when_sustained", message, True)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Branch:
    """The trunk of a run, and the step at which the run continues from the trunk's saved state. If
    this state is missing, the run is trained from its first step. Up to `step`, the run and its
    trunk have the same model, optimizer, data, seed and learning rates."""

    trunk: Annotated[str, Field(min_length=32, max_length=32)]
    """Digest of the trunk, the trial that takes the shared steps. `step` must be one of the trunk's
    `kept_steps`."""
    step: Count
    """Number of steps that the run shares with its trunk."""


def batch_problem(data: AnyData, horizon: HorizonSpec) -> Problem | None:
    """The first of the fields `batch_tokens` and `micro_batch_tokens` that is not a multiple of
    `data.context`, as a Problem. None if there is no such field."""
    for name, tokens in (
        ("batch_tokens", horizon.batch_tokens),
        ("micro_batch_tokens", horizon.micro_batch_tokens),
    ):
        if tokens is None or tokens % data.context == 0:
            continue
        below = tokens // data.context * data.context
        problem = f"is not a multiple of the context, {data.context} tokens"
        remedy = f"use {below} or {below + data.context}"
        if tokens < data.context:
            problem = f"is smaller than one context of {data.context} tokens"
            remedy = f"use a multiple of {data.context}"
        if name == "micro_batch_tokens":  # here batch_tokens is a multiple of the context
            remedy = f"use a multiple of {data.context} that divides batch_tokens"
        return Problem(name, f"{name} {tokens} {problem}; {remedy}", tokens)
    return None
