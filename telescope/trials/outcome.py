"""The outcome of a training run: its state, the points of its loss curve, and its failure, if any.

A `Trial` is a TrialSpec with its state and its results. A `Measurement` is one point of a trial's
curve. `TrialState` lists the states of a trial. `next_trial_state` refuses transitions that are not
in `TRANSITIONS`.

There are two kinds of failure. A *scientific* failure means that the loss diverged. Divergence is a
result, so the trial is COMPLETED. An *operational* failure is any other failure: for example, a
process died or a corpus disappeared. The trial is then tried again, or is FAILED.

A run may continue from a saved state of another run, its *trunk*, instead of training from step 0.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal

from telescope.errors import Conflict
from telescope.trials.outline import Outline, outlined
from telescope.trials.spec import TrialSpec


class TrialState(StrEnum):
    """The state of a trial."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    STOPPED = "STOPPED"

    @property
    def meaning(self) -> str:
        """A sentence for users that explains the state."""
        return MEANING[self]

    @property
    def terminal(self) -> bool:
        """True if the trial has ended. If its job is retried, a trial that is FAILED or STOPPED can
        start again."""
        return self in (TrialState.COMPLETED, TrialState.FAILED, TrialState.STOPPED)


MEANING = {
    TrialState.PENDING: "The trial is planned and waits for a worker.",
    TrialState.RUNNING: "A worker trains the trial.",
    TrialState.COMPLETED: (
        "The trial ended with a result: it trained to the end, reached stop_below_loss, sustained "
        "its generalisation, or diverged."
    ),
    TrialState.FAILED: "No attempt to run the trial succeeded; `failure` says why.",
    TrialState.STOPPED: (
        "The trial ended early, since its job was cancelled or ended before the trial."
    ),
}

TRANSITIONS: Mapping[TrialState, frozenset[TrialState]] = {
    TrialState.PENDING: frozenset(
        # to COMPLETED, if the result of another job is reused
        {TrialState.RUNNING, TrialState.COMPLETED, TrialState.FAILED, TrialState.STOPPED}
    ),
    TrialState.RUNNING: frozenset(
        # to PENDING, if the worker was lost or released the trial, or if an attempt failed
        {TrialState.PENDING, TrialState.COMPLETED, TrialState.FAILED, TrialState.STOPPED}
    ),
    TrialState.COMPLETED: frozenset(),
    TrialState.FAILED: frozenset({TrialState.PENDING}),  # if the trial's job is retried
    TrialState.STOPPED: frozenset({TrialState.PENDING}),  # if the trial's job is retried
}


def next_trial_state(current: TrialState, to: TrialState) -> TrialState:
    """Return `to`, the new state. Raises Conflict if `TRANSITIONS` does not allow the change."""
    if to not in TRANSITIONS[current]:
        raise Conflict(f"a trial that is {current} cannot become {to}")
    return to


@dataclass(frozen=True)
class Measurement:
    """One point of a trial's curve: the trial's costs and metrics after `step` optimizer steps."""

    step: int
    tokens: int  # tokens of all steps so far, including the steps of the trunk
    flops: float  # floating-point operations so far, without the trunk's operations
    # seconds of training so far, including earlier attempts, but without the trunk's seconds
    seconds: float
    # Metrics by name. `train_loss` is the mean training loss since the previous point. `loss` is
    # the held-out loss if it was measured, and inf if the run diverged. Other metrics depend on
    # what the run measures.
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Failure:
    """The reason why a trial has no finite loss."""

    kind: Literal["operational", "scientific"]
    message: str
    retryable: bool = True  # True if another attempt may succeed


@dataclass(frozen=True)
class Trial:
    """A training run with its outcome. `loss` is the final held-out loss: inf if the run diverged,
    None if the run has no result."""

    spec: TrialSpec
    state: TrialState = TrialState.PENDING
    attempt: int = 1
    loss: float | None = None
    flops: float = 0.0
    seconds: float = 0.0
    failure: Failure | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    """All metrics at the last point of the curve, by name. Empty if the trial has not completed."""
    reused: bool = False
    """True if the result comes from another job. The costs of this job then do not include the
    trial."""
    step: int = 0
    """Number of steps up to the last recorded point of the curve, including the steps that the run
    shares with its trunk; 0 before the first point."""
    outline: Outline | None = None
    """The loss curve, reduced to few points. None if no outline is stored."""

    @property
    def digest(self) -> str:
        """The digest of the spec, which identifies the trial."""
        return self.spec.digest

    @property
    def diverged(self) -> bool:
        """True if the trial completed with an infinite loss."""
        return self.loss is not None and math.isinf(self.loss)


def completed(spec: TrialSpec, curve: Sequence[Measurement], attempt: int = 1) -> Trial:
    """The completed trial that has this curve. If the last point of the curve has no finite
    held-out loss, the trial has diverged."""
    last = curve[-1]
    loss = last.metrics.get("loss", math.nan)
    trial = Trial(
        spec,
        TrialState.COMPLETED,
        attempt,
        loss,
        last.flops,
        last.seconds,
        metrics=dict(last.metrics),
        step=last.step,
        outline=outline(curve),
    )
    if math.isfinite(loss):
        return trial
    message = (
        f"diverged by step {last.step}: train_loss {last.metrics.get('train_loss', math.nan):.4g}"
    )
    return replace(trial, loss=math.inf, failure=Failure("scientific", message, retryable=False))


def outline(curve: Sequence[Measurement]) -> Outline:
    """The outline of a curve."""
    training, held_out = (
        [point.metrics.get(name, math.nan) for point in curve] for name in ("train_loss", "loss")
    )
    return outlined([point.tokens for point in curve], training, held_out)
