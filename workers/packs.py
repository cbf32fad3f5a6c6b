"""Which trials does a worker train together?

Narrow trials of one shape run faster as one program (telescope.pack). How many of them, a worker measures that meets the shape, where
enough of them wait to repay it. But it takes no more than its share of the work that is left, or another would stand idle in the end; it
takes trials of one job, so that nobody suffers from another's lost corpus; and whatever has failed or was stopped before, it trains alone:
company may have been what failed it.
"""

import logging
import math
import threading
from collections.abc import Callable

from telescope.flops import trial_flops
from telescope.pack import shape
from telescope.spec import TrialSpec
from workers.desk import Desk
from workers.interface import Assignment

log = logging.getLogger("telescope.packs")

MOST_TOGETHER = 8
REPAID_STEPS = 1000  # that wait, at least, before packs of a shape are measured: which takes as long as 16 to 60 of them


class Packs:
    """What the desk holds, in packs; safe to use from any thread."""

    def __init__(self, desk: Desk, workers: Callable[[], int]) -> None:
        self._desk, self._workers = desk, workers  # that share what the desk holds
        self._sizes: dict[str, int] = {}  # by shape
        self._measuring = threading.Lock()

    def take(self, timeout: float | None, measure: Callable[[TrialSpec, int], int]) -> tuple[Assignment, ...]:
        """The next assignment and its company, all running; empty when `timeout` seconds passed or the desk closed.

        `measure` is `telescope.pack.pack_size`, where this worker computes.
        """
        first = self._desk.take(timeout)
        if first is None:
            return ()
        if first.attempt > 1 or first.spec.measure == "coordinates":
            return (first,)
        alike = shape(first.spec)

        def fits(other: Assignment) -> bool:
            return other.job == first.job and other.attempt == 1 and shape(other.spec) == alike

        share = math.ceil(self._desk.flops_left() / self._workers() / trial_flops(first.spec))
        company = min(share - 1, sum(map(fits, self._desk.waiting())))
        if company < 1:
            return (first,)
        if alike not in self._sizes and (1 + company) * first.spec.horizon.steps >= REPAID_STEPS:
            self._measure(first.spec, measure)
        return (first, *self._desk.take_like(fits, min(self._sizes.get(alike, 1), share) - 1))

    def _measure(self, spec: TrialSpec, measure: Callable[[TrialSpec, int], int]) -> None:
        """Remember what `measure` finds; while another worker measures, nothing."""
        if not self._measuring.acquire(blocking=False):
            return
        try:
            self._sizes[shape(spec)] = measure(spec, MOST_TOGETHER)
            log.info("width %d, %s: packs of %d", spec.model.width, spec.optimizer.name, self._sizes[shape(spec)])
        except Exception as error:
            self._sizes[shape(spec)] = 1
            log.warning("width %d, %s: no packs, for they could not be measured: %s", spec.model.width, spec.optimizer.name, error)
        finally:
            self._measuring.release()

    def broke(self, assignments: tuple[Assignment, ...]) -> None:
        """A pack failed, perhaps for want of memory: the next ones of its shape are half as large."""
        if len(assignments) > 1:
            self._sizes[shape(assignments[0].spec)] = len(assignments) // 2
