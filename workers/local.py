"""The executor that runs trials in this process, without Ray.

It is meant for small machines, notebooks and tests. One thread trains pack after pack; a pack is a
group of trials that are trained together (`workers.packs`). The curves of trials are the same as
with any other executor on the same kind of device, up to rounding.

A process cannot kill one of its threads. `stop` and `close` therefore end a running trial only at
its next training step. Before a trial begins, the thread may measure how fast packs of different
sizes train. In this case the trial ends only after the measurement. `close` does not wait longer
than `CLOSE_SECONDS`.
"""

import threading
from collections.abc import Sequence

from telescope.train.program import Program, choose
from telescope.trials.numerics import numerics
from workers import runner
from workers.desk import Desk
from workers.interface import Assignment, Event
from workers.packs import MOST_TOGETHER, Packs

CLOSE_SECONDS = 10.0  # longest time that `close` waits for the thread


class LocalExecutor:
    """Runs trials in one thread of this process."""

    slots = 1
    room = 2 * MOST_TOGETHER

    def __init__(self) -> None:
        self.numerics: str | None = None
        self._desk = Desk()
        self._packs = Packs(self._desk, lambda: self.slots)
        self._thread = threading.Thread(target=self._work, name="local-worker", daemon=True)
        self._thread.start()

    def submit(self, *assignments: Assignment) -> None:
        """Queue the assignments."""
        self._desk.submit(*assignments)

    def stop(self, trial_id: int) -> None:
        """End a trial: at once if it is queued, or at its next step if it runs."""
        self._desk.stop(trial_id)

    def events(self, timeout: float) -> Sequence[Event]:
        """Return the events since the last call; wait up to `timeout` seconds for the first."""
        return self._desk.events(timeout)

    def close(self) -> None:
        """Ask the thread to end, and wait up to `CLOSE_SECONDS` for its end."""
        self._desk.close()
        self._thread.join(CLOSE_SECONDS)

    def _work(self) -> None:
        def measure(first: Assignment, max_members: int, steps: float) -> Program:
            return choose(first.spec, max_members, steps)

        def should_stop(assignment: Assignment) -> bool:
            return self._desk.stopping(assignment.trial_id)

        runner.warm_up()
        self.numerics = numerics()
        while (pack := self._packs.take(None, measure)).assignments:
            for event in runner.run_attempts(pack.assignments, should_stop, pack.compiled):
                self._desk.emit(event)
