"""An executor that trains nothing: trials follow a closed-form loss, one event at a time.

The order of events is drawn from a seed. It keeps the protocol of `workers.interface`, checkpoints
included (files, so that their deletion can be checked), and its events are a pure function of its
seed. `Disturbances` makes it fail attempts and repeat earlier events, those of its predecessors
included.
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
    """A loss with its optimum at lr 2^-5, weight decay 2^-3.

    Wider is better, too large an lr diverges, seeds add a little noise.
    """
    if spec.optimizer.lr > DIVERGES_FROM_LR:
        return math.inf
    lr, decay = (
        math.log2(spec.optimizer.lr) + 5,
        math.log2(max(spec.optimizer.weight_decay, 1e-6)) + 3,
    )
    noise = random.Random(spec.digest).gauss(0, 1e-4)
    return 2.0 + 8 / math.sqrt(spec.model.width) + 0.05 * lr**2 + 0.01 * decay**2 + noise


def train_one(spec: TrialSpec, start: int = 0) -> Iterator[Measurement]:
    """The curve of a trial from the step after `start` on."""
    final, steps = bowl(spec), spec.horizon.steps
    for step in range(start + 1, steps + 1):
        now = final + 3 * (1 - step / steps)
        metrics = {"train_loss": now} if step < steps else {"train_loss": now, "loss": final}
        yield Measurement(
            step,
            step * spec.horizon.batch_tokens,
            step * FLOPS_PER_STEP,
            step * SECONDS_PER_STEP,
            metrics,
        )


@dataclass
class Disturbances:
    """Failures to inject, and all events sent so far."""

    repeat: float = 0.0  # probability that an earlier event is repeated
    fail: Callable[[Assignment], Failure | None] = lambda assignment: (
        None
    )  # called at the start of each attempt
    said: list[Event] = field(default_factory=list)


class InstantExecutor:
    """Runs trials without time passing."""

    def __init__(
        self, slots: int = 2, seed: int = 0, disturbances: Disturbances | None = None
    ) -> None:
        self.slots, self.room = slots, slots + 1
        self.numerics: str | None = "instant"
        self.submitted: list[Assignment] = []
        self.extra: list[Event] = []  # sent before anything else
        self.held = False  # while true, running trials make no progress
        self._random = random.Random(seed)
        self._disturbances = disturbances or Disturbances()
        self._running: dict[int, tuple[Assignment, Iterator[Event]]] = {}

    @property
    def running(self) -> list[Assignment]:
        """Trials in flight; assignments beyond the slots wait in the order of their arrival."""
        return [assignment for assignment, _ in self._running.values()][: self.slots]

    def submit(self, *assignments: Assignment) -> None:
        """Begin an attempt at each assignment."""
        for assignment in assignments:
            assert assignment.trial_id not in self._running, "a trial runs twice at once"
            assert len(self._running) < self.room
            self.submitted.append(assignment)
            self._running[assignment.trial_id] = (assignment, self._attempt(assignment))

    def stop(self, trial_id: int) -> None:
        """End an attempt."""
        if found := self._running.pop(trial_id, None):
            self.extra.append(Stopped(trial_id, found[0].attempt))

    def events(self, timeout: float) -> Sequence[Event]:
        """Return one event."""
        if self.extra:
            return [self.extra.pop(0)]
        disturbances = self._disturbances
        if disturbances.said and self._random.random() < disturbances.repeat:
            return [self._random.choice(disturbances.said)]
        if not self._running or self.held:
            return []
        trial_id = self._random.choice(sorted(assignment.trial_id for assignment in self.running))
        event = next(self._running[trial_id][1])
        if isinstance(event, (Finished, Failed)):
            del self._running[trial_id]
        disturbances.said.append(event)
        return [event]

    def close(self) -> None:
        """Forget everything."""
        self._running.clear()

    def _attempt(self, assignment: Assignment) -> Iterator[Event]:
        trial_id, attempt, file = (
            assignment.trial_id,
            assignment.attempt,
            Path(assignment.checkpoint),
        )
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
