"""How do trials run without Ray, in this very process?

One after the other, in one thread. It is what small machines, notebooks and tests use; the curves are those of any other executor.
A process cannot kill its own thread: `stop` and `close` take effect at the trial's next recorded point.
"""

import threading
from collections.abc import Sequence

from telescope.numerics import numerics
from workers import runner
from workers.desk import Desk
from workers.interface import Assignment, Event

CLOSE_SECONDS = 10.0  # how long close() waits for the trial's next point


class LocalExecutor:
    """One worker thread in this process."""

    slots = 1

    def __init__(self) -> None:
        self.numerics: str | None = None
        self._desk = Desk()
        self._thread = threading.Thread(target=self._work, name="local-worker", daemon=True)
        self._thread.start()

    def submit(self, assignment: Assignment) -> None:
        """Queue one attempt."""
        self._desk.submit(assignment)

    def stop(self, trial_id: int) -> None:
        """End a trial: at once when it is queued, at its next point when it runs."""
        self._desk.stop(trial_id)

    def events(self, timeout: float) -> Sequence[Event]:
        """What happened, waiting up to `timeout` seconds for the first of it."""
        return self._desk.events(timeout)

    def close(self) -> None:
        """Stop the thread; idempotent."""
        self._desk.close()
        self._thread.join(CLOSE_SECONDS)

    def _work(self) -> None:
        runner.warm_up()
        self.numerics = numerics()
        while (assignment := self._desk.take()) is not None:
            trial_id = assignment.trial_id
            for event in runner.run(assignment, lambda trial_id=trial_id: self._desk.stopping(trial_id)):  # type: ignore[misc]
                self._desk.emit(event)
