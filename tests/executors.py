"""An executor that trains nothing: its trials follow a closed-form loss.

It keeps the protocol of `workers.interface` and writes checkpoint files, so that tests can check
their deletion. Each call of `events` returns one event; a seed determines their order.
`Disturbances` make it fail attempts and repeat earlier events, even those of another executor.
"""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from telescope.trials.outcome import Failure, Measurement
from telescope.trials.spec import TrialSpec
from workers.interface import Assignment, Event, Failed, Finished, Measured, Started, Stopped

FLOPS_PER_STEP = 1e9
SECONDS_PER_STEP = 0.01
STEPS_PER_CHECKPOINT = 3
DIVERGES_FROM_LR = 0.2


def bowl(spec: TrialSpec) -> float:
    """A loss with its optimum at lr 2^-5 and weight decay 2^-3.

    It falls with width, is infinite at a large lr, and has a little noise that the spec determines.
    """
    optimizer = spec.optimizer
    if optimizer.lr > DIVERGES_FROM_LR:
        return math.inf
    lr = math.log2(optimizer.lr) + 5  # octaves from the optimum
    decay = math.log2(max(optimizer.weight_decay, 1e-6)) + 3
    noise = random.Random(spec.digest).gauss(0, 1e-4)
    return 2.0 + 8 / math.sqrt(spec.model.width) + 0.05 * lr**2 + 0.01 * decay**2 + noise


def train_one(spec: TrialSpec, start: int = 0) -> Iterator[Measurement]:
    """The curve of a trial after step `start`."""
    final, steps = bowl(spec), spec.horizon.steps
    for step in range(start + 1, steps + 1):
        loss = final + 3 * (1 - step / steps)
        metrics = {"train_loss": loss} if step < steps else {"train_loss": loss, "loss": final}
        yield Measurement(
            step,
            step * spec.horizon.batch_tokens,
            step * FLOPS_PER_STEP,
            step * SECONDS_PER_STEP,
            metrics,
        )


def never(assignment: Assignment) -> None:
    """No attempt fails."""


@dataclass
class Disturbances:
    """Failures to inject, and the events to repeat."""

    repeat: float = 0.0  # probability that an earlier event is repeated
    fail: Callable[[Assignment], Failure | None] = never  # called at the start of each attempt
    sent: list[Event] = field(default_factory=list)  # all events so far


class InstantExecutor:
    """Runs trials as fast as its events are read."""

    def __init__(
        self, slots: int = 2, seed: int = 0, disturbances: Disturbances | None = None
    ) -> None:
        self.slots, self.room = slots, slots + 1
        self.numerics: str | None = "instant"
        self.submitted: list[Assignment] = []
        self.extra: list[Event] = []  # to be sent before other events
        self.held = False  # while True, running trials make no progress
        self._random = random.Random(seed)
        self._disturbances = disturbances or Disturbances()
        self._running: dict[int, tuple[Assignment, Iterator[Event]]] = {}

    @property
    def running(self) -> list[Assignment]:
        """Running assignments; those beyond the slots wait in the order of their arrival."""
        return [assignment for assignment, _ in self._running.values()][: self.slots]

    def submit(self, *assignments: Assignment) -> None:
        for assignment in assignments:
            assert assignment.trial_id not in self._running, "a trial runs twice at once"
            assert len(self._running) < self.room
            self.submitted.append(assignment)
            self._running[assignment.trial_id] = (assignment, self._attempt(assignment))

    def stop(self, trial_id: int) -> None:
        if trial_id in self._running:
            assignment, _ = self._running.pop(trial_id)
            self.extra.append(Stopped(trial_id, assignment.attempt))

    def events(self, timeout: float) -> Sequence[Event]:
        """At most one event: an extra one, a repeated one, or the next one of a random trial."""
        if self.extra:
            return [self.extra.pop(0)]
        disturbances = self._disturbances
        if disturbances.sent and self._random.random() < disturbances.repeat:
            return [self._random.choice(disturbances.sent)]
        if not self._running or self.held:
            return []
        trial_id = self._random.choice(sorted(assignment.trial_id for assignment in self.running))
        event = next(self._running[trial_id][1])
        if isinstance(event, (Finished, Failed)):
            del self._running[trial_id]
        disturbances.sent.append(event)
        return [event]

    def close(self) -> None:
        self._running.clear()

    def _attempt(self, assignment: Assignment) -> Iterator[Event]:
        trial_id, attempt = assignment.trial_id, assignment.attempt
        file = Path(assignment.checkpoint)
        start = int(file.read_text()) if file.exists() else 0
        yield Started(trial_id, attempt, start, "instant", self.numerics or "")
        if failure := self._disturbances.fail(assignment):
            yield Failed(trial_id, attempt, failure)
        last = None
        for last in train_one(assignment.spec, start):
            yield Measured(trial_id, attempt, (last,))
            if last.step % STEPS_PER_CHECKPOINT == 0 and last.step < assignment.spec.horizon.steps:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(str(last.step))
        assert last is not None
        yield Finished(trial_id, attempt, (last,))
