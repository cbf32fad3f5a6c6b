"""Which trials does a worker train together, and with which program?

Trials of one shape run faster as one program (telescope.train.pack), or compiled
(telescope.train.compiled). What is fastest, a worker measures that meets the shape, where enough of
it waits to repay that (telescope.train.program); and once more where so much has come that
compiling may pay. But a worker takes no more than its share of the work that is left, or another
would stand idle in the end; it takes trials of one job, so that nobody suffers from another's lost
corpus; and whatever has failed before, it trains alone and as it is written: company, or the
compiler, may have been what failed it. So it does with trials that look at each of their steps: at
its time, or at attention logits.

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
# that wait, at least, before a shape is measured: which takes as long as 20 to 110 of them
REPAID_STEPS = 1000


@dataclass(frozen=True)
class Pack:
    """What a worker takes: attempts at trials of one shape, all running, and whether to compile;
    empty when there is nothing to do."""

    assignments: tuple[Assignment, ...] = ()
    compiled: bool = False


class Interrupted(Exception):
    """A measurement was given up, for its trial is to end."""


Measure = Callable[[Assignment, int, float], Program]


def plain(assignment: Assignment) -> bool:
    """Whether it may be packed and compiled; of a user's model nobody knows that."""
    spec = assignment.spec
    return (
        assignment.failures == 0
        and spec.measure == "loss"
        and packable(spec.model)
        and not spec.optimizer.watches_logits
    )


class Packs:
    """What the desk holds, in packs; safe to use from any thread."""

    def __init__(self, desk: Desk, workers: Callable[[], int]) -> None:
        self._desk, self._workers = desk, workers  # that share what the desk holds
        self._programs: dict[str, Program] = {}  # by shape
        self._graphs: dict[str, Graph] = {}  # likewise
        self._measuring = threading.Lock()

    def take(self, timeout: float | None, measure: Measure) -> Pack:
        """The next assignment and its company; nothing when `timeout` seconds passed or the desk
        closed.

        `measure` is `telescope.train.program.choose`, where this worker computes; it raises
        `Interrupted` where the assignment is asked to end.
        """
        first = self._desk.take(timeout)
        if first is None:
            return Pack()
        if not plain(first):
            return Pack((first,))
        alike = shape(first.spec)

        def fits(other: Assignment) -> bool:
            return other.job == first.job and plain(other) and shape(other.spec) == alike

        company = min(self._share(first) - 1, sum(map(fits, self._desk.waiting())))
        steps = self._steps(first)
        if max((1 + company) * first.spec.own_steps, steps) >= REPAID_STEPS:
            known = self._programs.get(alike)
            if known is None or steps >= known.repaid_steps:
                self._measure(first, steps, measure)
        program = self._programs.get(alike, Program())
        together = min(program.members, self._share(first))  # others have gone on meanwhile
        return Pack((first, *self._desk.take_like(fits, together - 1)), program.compiled)

    def _share(self, first: Assignment) -> int:
        """How many such trials are a worker's part of all work that is left."""
        return math.ceil(self._desk.flops_left() / self._workers() / trial_flops(first.spec))

    def _steps(self, first: Assignment) -> float:
        """How many steps of the same graph a worker has before it."""
        graph, own = Graph.of(first.spec), first.spec.own_steps
        others = sum(
            other.spec.own_steps
            for other in self._desk.waiting()
            if plain(other) and Graph.of(other.spec) == graph
        )
        return max(own, (own + others) / self._workers())

    def _measure(self, first: Assignment, steps: float, measure: Measure) -> None:
        """Remember what `measure` finds; while another worker measures, nothing."""
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
        except Interrupted:
            return
        except Exception as error:
            program = Program()
            log.warning(
                "width %d, %s: no packs, for they could not be measured: %s",
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
        """What was not worth compiling may be, now that this graph is compiled already."""
        for alike, program in list(self._programs.items()):
            if self._graphs.get(alike) == graph and math.isfinite(program.repaid_steps):
                self._programs[alike] = replace(program, repaid_steps=0)

    def broke(self, pack: Pack) -> None:
        """A pack failed, perhaps for want of memory: the next ones of its shape are half as large,
        and a single one is not compiled."""
        alike, members = shape(pack.assignments[0].spec), len(pack.assignments)
        if members > 1:
            self._programs[alike] = replace(
                self._programs[alike], members=members // 2, repaid_steps=math.inf
            )
        elif pack.compiled:
            self._programs[alike] = Program(reason="not compiled: a trial failed that was")
            log.warning(
                "width %d: compiled no more, for a trial failed that was",
                pack.assignments[0].spec.model.width,
            )
