"""Which trials does a worker train together, and with which program?

Trials of one shape run faster as one program (telescope.pack), or compiled (telescope.compiled). What is fastest, a worker measures that
meets the shape, where enough of it waits to repay that (telescope.program); and once more where so much has come that compiling may pay.
But a worker takes no more than its share of the work that is left, or another would stand idle in the end; it takes trials of one job, so
that nobody suffers from another's lost corpus; and whatever has failed or was stopped before, it trains alone and as it is written:
company, or the compiler, may have been what failed it.

Parts: `Pack`, what a worker takes · `Packs`, which decides.
"""

import logging
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from telescope.compiled import Graph
from telescope.flops import trial_flops
from telescope.pack import shape
from telescope.program import Program
from telescope.spec import TrialSpec
from workers.desk import Desk
from workers.interface import Assignment

log = logging.getLogger("telescope.packs")

MOST_TOGETHER = 8
REPAID_STEPS = 1000  # that wait, at least, before a shape is measured: which takes as long as 16 to 60 of them


@dataclass(frozen=True)
class Pack:
    """What a worker takes: attempts at trials of one shape, all running, and whether to compile; empty when there is nothing to do."""

    assignments: tuple[Assignment, ...] = ()
    compiled: bool = False


class Packs:
    """What the desk holds, in packs; safe to use from any thread."""

    def __init__(self, desk: Desk, workers: Callable[[], int]) -> None:
        self._desk, self._workers = desk, workers  # that share what the desk holds
        self._programs: dict[str, Program] = {}  # by shape
        self._measuring = threading.Lock()

    def take(self, timeout: float | None, measure: Callable[[TrialSpec, int, float], Program]) -> Pack:
        """The next assignment and its company; nothing when `timeout` seconds passed or the desk closed.

        `measure` is `telescope.program.choose`, where this worker computes.
        """
        first = self._desk.take(timeout)
        if first is None:
            return Pack()
        if first.attempt > 1 or first.spec.measure == "coordinates":
            return Pack((first,))
        alike, graph = shape(first.spec), Graph.of(first.spec)

        def fits(other: Assignment) -> bool:
            return other.job == first.job and other.attempt == 1 and shape(other.spec) == alike

        waiting = self._desk.waiting()
        share = math.ceil(self._desk.flops_left() / self._workers() / trial_flops(first.spec))
        company = min(share - 1, sum(map(fits, waiting)))
        same_graph = first.spec.horizon.steps + sum(other.spec.horizon.steps for other in waiting if Graph.of(other.spec) == graph)
        steps = max(first.spec.horizon.steps, same_graph / self._workers())  # that this worker has before it
        if max((1 + company) * first.spec.horizon.steps, steps) >= REPAID_STEPS:
            program = self._programs.get(alike)
            if program is None or steps >= program.repaid_steps:
                self._measure(first.spec, steps, measure)
        program = self._programs.get(alike, Program())
        return Pack((first, *self._desk.take_like(fits, min(program.members, share) - 1)), program.compiled)

    def _measure(self, spec: TrialSpec, steps: float, measure: Callable[[TrialSpec, int, float], Program]) -> None:
        """Remember what `measure` finds; while another worker measures, nothing."""
        if not self._measuring.acquire(blocking=False):
            return
        try:
            program = measure(spec, MOST_TOGETHER, steps)
            log.info("width %d, %s: packs of %d, %s", spec.model.width, spec.optimizer.name, program.members, program.reason)
        except Exception as error:
            program = Program()
            log.warning("width %d, %s: no packs, for they could not be measured: %s", spec.model.width, spec.optimizer.name, error)
        finally:
            self._measuring.release()
        self._programs[shape(spec)] = program

    def broke(self, pack: Pack) -> None:
        """A pack failed, perhaps for want of memory: the next ones of its shape are half as large, and a single one is not compiled."""
        alike, members = shape(pack.assignments[0].spec), len(pack.assignments)
        if members > 1:
            self._programs[alike] = replace(self._programs[alike], members=members // 2)
        elif pack.compiled:
            self._programs[alike] = Program(reason="not compiled: a trial failed that was")
