"""Packs: which trials a worker trains together, and by which program.

Trials of one shape run faster as one program (telescope.train.pack), or compiled
(telescope.train.compiled). A worker that meets a shape measures what is fastest, if enough such
trials are queued to repay the measurement (telescope.train.program); and again once so many have
been queued that compiling may pay. But a worker takes no more than its share of the remaining work,
or other workers would be idle at the end; it takes trials of one job only, so that a lost corpus
fails only its own job; and a trial that has failed before is trained alone and not compiled, since
packing or the compiler may have been the cause. The same holds for trials that record each of their
steps: step times, or attention logits.

Parts: `Pack`, what a worker takes · `Packs`, which decides.
"""

import logging
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from telescope.train.compiled import Graph
from telescope.train.flops import trial_flops
from telescope.train.pack import packable, shape
from telescope.train.program import Program
from workers.desk import Desk
from workers.interface import Assignment

log = logging.getLogger("telescope.packs")

MOST_TOGETHER = 8
# queued trials, at least, before a shape is measured: measuring takes as long as 20 to 110 of them
REPAID_STEPS = 1000


@dataclass(frozen=True)
class Pack:
    """Attempts at trials of one shape that a worker takes, all of them running, and whether to
    compile; empty if there is nothing to do."""

    assignments: tuple[Assignment, ...] = ()
    compiled: bool = False


class MeasurementAbandoned(Exception):
    """The measurement was abandoned, because its trial is to end."""


Measure = Callable[[Assignment, int, float], Program]


def may_be_packed(assignment: Assignment) -> bool:
    """True if the trial may be packed and compiled; never for a user's model."""
    spec = assignment.spec
    return (
        assignment.failures == 0
        and spec.measure == "loss"
        and packable(spec.model)
        and not spec.optimizer.watches_logits
    )


class Packs:
    """The assignments of a desk, in packs; thread-safe."""

    def __init__(self, desk: Desk, workers: Callable[[], int]) -> None:
        self._desk, self._workers = desk, workers  # number of workers that share the desk
        self._programs: dict[str, Program] = {}  # by shape
        self._graphs: dict[str, Graph] = {}  # by shape
        self._measuring = threading.Lock()

    def take(self, timeout: float | None, measure: Measure) -> Pack:
        """The next assignment and those that train with it; empty if `timeout` seconds passed or
        the desk closed.

        `measure` is `telescope.train.program.choose`, run where this worker computes; it raises
        `MeasurementAbandoned` if a stop of the assignment was requested.
        """
        first = self._desk.take(timeout)
        if first is None:
            return Pack()
        if not may_be_packed(first):
            return Pack((first,))
        alike = shape(first.spec)

        def fits(other: Assignment) -> bool:
            return other.job == first.job and may_be_packed(other) and shape(other.spec) == alike

        company = min(self._share(first) - 1, sum(map(fits, self._desk.waiting())))
        steps = self._steps(first)
        if max((1 + company) * first.spec.own_steps, steps) >= REPAID_STEPS:
            known = self._programs.get(alike)
            if known is None or steps >= known.repaid_steps:
                self._measure(first, steps, measure)
        program = self._programs.get(alike, Program())
        # other workers have taken assignments meanwhile
        together = min(program.members, self._share(first))
        return Pack((first, *self._desk.take_like(fits, together - 1)), program.compiled)

    def _share(self, first: Assignment) -> int:
        """The number of such trials that makes a worker's share of all remaining work."""
        return math.ceil(self._desk.flops_left() / self._workers() / trial_flops(first.spec))

    def _steps(self, first: Assignment) -> float:
        """Number of steps of the same graph that each worker has left."""
        graph, own = Graph.of(first.spec), first.spec.own_steps
        others = sum(
            other.spec.own_steps
            for other in self._desk.waiting()
            if may_be_packed(other) and Graph.of(other.spec) == graph
        )
        return max(own, (own + others) / self._workers())

    def _measure(self, first: Assignment, steps: float, measure: Measure) -> None:
        """Store the result of `measure`; do nothing while another worker measures."""
        if not self._measuring.acquire(blocking=False):
            return
        spec = first.spec
        try:
            program = measure(first, MOST_TOGETHER, steps)
            log.info(
                "width %d, %s: packs of %d, %s",
                spec.model.width,
                spec.optimizer.name,
                program.members,
                program.reason,
            )
        except MeasurementAbandoned:
            return
        except Exception as error:
            program = Program()
            log.warning(
                "width %d, %s: no packs, since they could not be measured: %s",
                spec.model.width,
                spec.optimizer.name,
                error,
            )
        finally:
            self._measuring.release()
        self._programs[shape(spec)] = program
        self._graphs[shape(spec)] = Graph.of(spec)
        if program.compiled:
            self._cheaper(Graph.of(spec))

    def _cheaper(self, graph: Graph) -> None:
        """Let programs that were not worth compiling be measured again, since this graph is
        compiled now."""
        for alike, program in list(self._programs.items()):
            if self._graphs.get(alike) == graph and math.isfinite(program.repaid_steps):
                self._programs[alike] = replace(program, repaid_steps=0)

    def broke(self, pack: Pack) -> None:
        """Record that a pack failed, perhaps for lack of memory: the next packs of its shape are
        half as large, and a single trial is not compiled."""
        alike, members = shape(pack.assignments[0].spec), len(pack.assignments)
        if members > 1:
            self._programs[alike] = replace(
                self._programs[alike], members=members // 2, repaid_steps=math.inf
            )
        elif pack.compiled:
            self._programs[alike] = Program(reason="not compiled: a compiled trial failed")
            log.warning(
                "width %d: no longer compiled, since a compiled trial failed",
                pack.assignments[0].spec.model.width,
            )
