"""What becomes of one training run?

`Trial` is a TrialSpec with its fate; `TrialState` lists the states, `advance` the only legal transitions. A `Measurement` is one
point of its curve. Two kinds of failure never mix: a *scientific* one (the loss diverged) is a result, the worst one, and the
trial completes; an *operational* one (a process died, a corpus vanished) is retried or ends the trial FAILED.
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
    """Where a trial stands; each state's sentence is its `meaning`."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    STOPPED = "STOPPED"

    @property
    def meaning(self) -> str:
        """One sentence for people."""
        return MEANING[self]

    @property
    def terminal(self) -> bool:
        """It has ended; only a retry of its job leads on."""
        return self in (TrialState.COMPLETED, TrialState.FAILED, TrialState.STOPPED)


MEANING = {
    TrialState.PENDING: "Planned, waiting for a worker.",
    TrialState.RUNNING: "A worker is training it.",
    TrialState.COMPLETED: "It trained to its end, stopped below its loss, or diverged: each is a result.",
    TrialState.FAILED: "It could not be run, after its retries; `failure` says why.",
    TrialState.STOPPED: "Its job was cancelled, or no longer needed it, before it ended.",
}

TRANSITIONS: Mapping[TrialState, frozenset[TrialState]] = {
    TrialState.PENDING: frozenset(
        {TrialState.RUNNING, TrialState.COMPLETED, TrialState.FAILED, TrialState.STOPPED}  # COMPLETED: an earlier job had trained it
    ),
    TrialState.RUNNING: frozenset(
        {TrialState.PENDING, TrialState.COMPLETED, TrialState.FAILED, TrialState.STOPPED}  # PENDING: it was lost
    ),
    TrialState.COMPLETED: frozenset(),
    TrialState.FAILED: frozenset({TrialState.PENDING}),  # its job is retried
    TrialState.STOPPED: frozenset({TrialState.PENDING}),
}


def advance(current: TrialState, to: TrialState) -> TrialState:
    """The next state, or Conflict where the table has no such step."""
    if to not in TRANSITIONS[current]:
        raise Conflict(f"a trial that is {current} cannot become {to}")
    return to


@dataclass(frozen=True)
class Measurement:
    """One point of a curve, after `step` optimizer steps."""

    step: int
    tokens: int
    flops: float
    seconds: float  # of training so far, all attempts
    metrics: Mapping[str, float]  # train_loss: mean since the last point; loss: held-out, where it was measured


@dataclass(frozen=True)
class Failure:
    """Why a trial did not give a finite loss."""

    kind: Literal["operational", "scientific"]
    message: str
    retryable: bool = True


@dataclass(frozen=True)
class Trial:
    """A run and its fate, as studies see it. `loss` is the final held-out loss: inf when diverged, None until it ended."""

    spec: TrialSpec
    state: TrialState = TrialState.PENDING
    attempt: int = 1
    loss: float | None = None
    flops: float = 0.0
    seconds: float = 0.0
    failure: Failure | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    """All metrics of its last point, by name; empty until it ended."""
    reused: bool = False
    """An earlier job trained it: it cost this one nothing."""
    step: int = 0
    """Steps that it made, those of its trunk included; 0 until it ended."""
    outline: Outline | None = None
    """Its loss against tokens, for studies that read curves."""

    @property
    def digest(self) -> str:
        """Identity, that of the spec."""
        return self.spec.digest

    @property
    def diverged(self) -> bool:
        """Completed, and worse than any finite loss."""
        return self.loss is not None and math.isinf(self.loss)


def completed(spec: TrialSpec, curve: Sequence[Measurement], attempt: int = 1) -> Trial:
    """The completed trial that a curve amounts to; a curve that does not end in a finite held-out loss diverged."""
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
    message = f"diverged by step {last.step}: train_loss {last.metrics.get('train_loss', math.nan):.4g}"
    return replace(trial, loss=math.inf, failure=Failure("scientific", message, retryable=False))


def outline(curve: Sequence[Measurement]) -> Outline:
    """What is kept of a curve for studies that read thousands of them."""
    trained, held_out = ([point.metrics.get(name, math.nan) for point in curve] for name in ("train_loss", "loss"))
    return outlined([point.tokens for point in curve], trained, held_out)
