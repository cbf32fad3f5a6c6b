"""The outcome of a training run: states, curve points, failures.

A `Trial` is a TrialSpec with its state and results, and a `Measurement` is one point of its curve.
`TrialState` lists the states; `next_trial_state` refuses transitions that are not in `TRANSITIONS`.
There are two kinds of failure. A *scientific* failure (the loss diverged) is a result, the worst
possible: the trial is COMPLETED. After an *operational* failure (a process died, a corpus
disappeared) the trial is retried, or FAILED.
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
    """State of a trial; `meaning` describes each state in a sentence."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    STOPPED = "STOPPED"

    @property
    def meaning(self) -> str:
        """The state in one sentence, for users."""
        return MEANING[self]

    @property
    def terminal(self) -> bool:
        """True if the trial has ended. A retry of the job restarts FAILED and STOPPED trials."""
        return self in (TrialState.COMPLETED, TrialState.FAILED, TrialState.STOPPED)


MEANING = {
    TrialState.PENDING: "Planned, waiting for a worker.",
    TrialState.RUNNING: "A worker trains the trial.",
    TrialState.COMPLETED: (
        "Ended with a result: trained to the end, stopped below stop_below_loss, or diverged."
    ),
    TrialState.FAILED: "Could not be run, even after retries; `failure` says why.",
    TrialState.STOPPED: "Ended early: its job was cancelled or no longer needed the trial.",
}

TRANSITIONS: Mapping[TrialState, frozenset[TrialState]] = {
    TrialState.PENDING: frozenset(
        # COMPLETED: an earlier job ran the trial
        {TrialState.RUNNING, TrialState.COMPLETED, TrialState.FAILED, TrialState.STOPPED}
    ),
    TrialState.RUNNING: frozenset(
        # PENDING: the worker was lost or released the trial, or a failed attempt is repeated
        {TrialState.PENDING, TrialState.COMPLETED, TrialState.FAILED, TrialState.STOPPED}
    ),
    TrialState.COMPLETED: frozenset(),
    TrialState.FAILED: frozenset({TrialState.PENDING}),  # on a retry of its job
    TrialState.STOPPED: frozenset({TrialState.PENDING}),  # on a retry of its job
}


def next_trial_state(current: TrialState, to: TrialState) -> TrialState:
    """Return `to`. Raises Conflict if `TRANSITIONS` does not allow the change."""
    if to not in TRANSITIONS[current]:
        raise Conflict(f"a trial that is {current} cannot become {to}")
    return to


@dataclass(frozen=True)
class Measurement:
    """One point of a curve, after `step` optimizer steps."""

    step: int
    tokens: int
    flops: float
    seconds: float  # training time so far, over all attempts
    # by name: train_loss, the mean since the previous point; loss, the held-out loss if measured;
    # and what else the run measures
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Failure:
    """The reason why a trial gave no finite loss."""

    kind: Literal["operational", "scientific"]
    message: str
    retryable: bool = True  # another attempt may succeed


@dataclass(frozen=True)
class Trial:
    """A run with its outcome, as studies see it. `loss` is the final held-out loss: inf if the run
    diverged, None if the run has no result."""

    spec: TrialSpec
    state: TrialState = TrialState.PENDING
    attempt: int = 1
    loss: float | None = None
    flops: float = 0.0
    seconds: float = 0.0
    failure: Failure | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    """All metrics at the curve's last point, by name; empty unless the trial completed."""
    reused: bool = False
    """True if an earlier job ran the trial, so that this job does not pay for it."""
    step: int = 0
    """Number of steps taken up to the last recorded point, including the trunk's; 0 before the
    first point."""
    outline: Outline | None = None
    """Loss against tokens, for studies that read curves; None if none is stored."""

    @property
    def digest(self) -> str:
        """The digest of the spec, which identifies the trial."""
        return self.spec.digest

    @property
    def diverged(self) -> bool:
        """True if the trial completed with an infinite loss."""
        return self.loss is not None and math.isinf(self.loss)


def completed(spec: TrialSpec, curve: Sequence[Measurement], attempt: int = 1) -> Trial:
    """The completed trial that has this curve; it diverged if the curve does not end in a finite
    held-out loss."""
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
    """The outline of a curve: at most 200 points, for studies that read thousands of curves."""
    training, held_out = (
        [point.metrics.get(name, math.nan) for point in curve] for name in ("train_loss", "loss")
    )
    return outlined([point.tokens for point in curve], training, held_out)
