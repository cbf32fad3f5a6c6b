"""Which trials does a worker train together?

Narrow trials of one shape run faster as one program (telescope.pack). How many of them, the worker measures that first meets the shape,
where enough of them wait to repay it. But a worker takes no more than its share of the work that is left, or another would stand idle in
the end; and whatever has failed or was stopped before, it trains alone: company may have been what failed it.
"""

import math
import threading
from collections.abc import Callable

from telescope.flops import trial_flops
from telescope.pack import shape
from telescope.spec import TrialSpec
from workers.desk import Desk
from workers.interface import Assignment

MOST_TOGETHER = 8
REPAID_STEPS = 900  # that wait, at least, before packs of a shape are measured: which takes as long as 12 to 60 of them


class Packs:
    """What the desk holds, in packs; safe to use from any thread."""

    def __init__(self, desk: Desk, workers: Callable[[], int]) -> None:
        self._desk, self._workers = desk, workers  # that share what the desk holds
        self._sizes: dict[str, int] = {}  # by shape, as measured
        self._measuring = threading.Lock()

    def take(self, timeout: float | None, measure: Callable[[TrialSpec, int], int]) -> tuple[Assignment, ...]:
        """The next assignment and its company, all running; empty when `timeout` seconds passed or the desk closed.

        `measure` is `telescope.pack.pack_size`, where this worker computes. What is wrong with it shows when the trial runs alone.
        """
        first = self._desk.take(timeout)
        if first is None:
            return ()
        if first.attempt > 1 or first.spec.measure == "coordinates":
            return (first,)
        alike = shape(first.spec)

        def fits(other: Assignment) -> bool:
            return other.attempt == 1 and shape(other.spec) == alike

        waiting = sum(map(fits, self._desk.waiting()))
        if waiting == 0:
            return (first,)
        with self._measuring:
            if alike not in self._sizes:
                if (1 + waiting) * first.spec.horizon.steps < REPAID_STEPS:
                    return (first,)
                try:
                    self._sizes[alike] = measure(first.spec, MOST_TOGETHER)
                except Exception:
                    return (first,)
        share = math.ceil(self._desk.flops_left() / self._workers() / trial_flops(first.spec))
        return (first, *self._desk.take_like(fits, min(self._sizes[alike], share) - 1))
