"""Packs: groups of trials that a worker trains together.

Trials have the same *shape* if they differ only in seed, learning rate and similar numbers
(`telescope.train.pack.shape`). Such trials often train faster together, as a pack, or by compiled
code. A *program* states how trials of one shape are trained: the number of trials in a pack, and
whether the code is compiled (`telescope.train.program`). A worker that takes a trial of a new shape
measures which program is the fastest. It does not measure while another worker measures, or if the
trials at hand have too few steps to repay the time of the measurement. Shapes with the same *graph*
(`telescope.train.compiled.Graph`) use the same compiled code. Compiled programs are measured only
if the trials with this graph have enough steps to repay the time of compiling. If enough steps are
queued only later, the shape is measured again. Trials on tables (the rows of an algorithmic task)
are never compiled.

A pack is at most one worker's share of the remaining work, so that work is left for other workers.
All trials of a pack belong to one job, so that only this job fails if the pack's corpus (training
text) is lost. A trial that has failed before is trained alone and not compiled, since packing or
compiling may have caused the failure. Three other kinds of trial are trained alone and not
compiled: trials of users' own models, trials that measure something other than the loss, and trials
that observe attention logits.
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

MOST_TOGETHER = 8  # largest number of trials in a pack
# A shape is measured only if one of two numbers is at least REPAID_STEPS: the steps of the next
# pack, or the steps per worker of the pack's first trial and of queued trials with the same graph.
# A measurement takes as long as 20 to 110 steps.
REPAID_STEPS = 1000


@dataclass(frozen=True)
class Pack:
    """Attempts at trials of one shape that a worker trains together.

    A pack without attempts means that no assignment was queued.
    """

    assignments: tuple[Assignment, ...] = ()
    compiled: bool = False  # True if compiled code should train the trials


class MeasurementAbandoned(Exception):
    """A measurement was abandoned, since its trial should stop or the desk was closed."""


# (trial, largest number of trials in a pack, steps per worker) -> the fastest program
Measure = Callable[[Assignment, int, float], Program]


def may_be_packed(assignment: Assignment) -> bool:
    """True if the trial may be packed and compiled."""
    spec = assignment.spec
    return (
        assignment.failures == 0
        and spec.measure == "loss"
        and packable(spec.model)
        and not spec.optimizer.watches_logits
    )


class Packs:
    """Takes assignments from a desk in packs; thread-safe."""

    def __init__(self, desk: Desk, workers: Callable[[], int]) -> None:
        self._desk = desk
        self._workers = workers  # returns the number of workers that share the desk
        self._programs: dict[str, Program] = {}  # the fastest program by shape, once measured
        self._graphs: dict[str, Graph] = {}  # the graph of each measured shape
        self._measuring = threading.Lock()  # held during a measurement

    def take(self, timeout: float | None, measure: Measure) -> Pack:
        """Wait for the next assignment. Return a pack of this assignment and similar ones.

        Return an empty pack if there is no assignment for `timeout` seconds, or if the desk closes.
        `measure` calls `telescope.train.program.choose` on this worker's device. It may raise
        MeasurementAbandoned if the trial should stop or the desk closes.
        """
        first = self._desk.take(timeout)
        if first is None:
            return Pack()
        if not may_be_packed(first):
            return Pack((first,))
        shape_key = shape(first.spec)

        def fits(assignment: Assignment) -> bool:
            same_job = assignment.job == first.job
            return same_job and may_be_packed(assignment) and shape(assignment.spec) == shape_key

        companions = min(self._share(first) - 1, sum(map(fits, self._desk.waiting())))
        steps = self._steps(first)
        if max((1 + companions) * first.spec.own_steps, steps) >= REPAID_STEPS:
            measured = self._programs.get(shape_key)
            if measured is None or steps >= measured.repaid_steps:
                self._measure(first, steps, measure)
        program = self._programs.get(shape_key, Program())
        # the share is computed again, since other workers may have taken assignments meanwhile
        members = min(program.members, self._share(first))
        return Pack((first, *self._desk.take_matching(fits, members - 1)), program.compiled)

    def _share(self, first: Assignment) -> int:
        """Number of trials like `first` in one worker's share of all remaining work."""
        return math.ceil(self._desk.flops_left() / self._workers() / trial_flops(first.spec))

    def _steps(self, first: Assignment) -> float:
        """Steps of `first` and similar queued trials, divided by the number of workers.

        The similar trials have the graph of `first` and may be packed. The result is at least the
        number of steps of `first`.
        """
        graph, own_steps = Graph.of(first.spec), first.spec.own_steps
        queued_steps = sum(
            assignment.spec.own_steps
            for assignment in self._desk.waiting()
            if may_be_packed(assignment) and Graph.of(assignment.spec) == graph
        )
        return max(own_steps, (own_steps + queued_steps) / self._workers())

    def _measure(self, first: Assignment, steps: float, measure: Measure) -> None:
        """Measure the fastest program for the shape of `first`, and store it.

        Do nothing while another worker measures, and store nothing if the measurement is abandoned.
        If the measurement fails, trials of this shape are trained alone and not compiled.
        """
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
                "width %d, %s: trials train alone, since packs could not be measured: %s",
                spec.model.width,
                spec.optimizer.name,
                error,
            )
        finally:
            self._measuring.release()
        self._programs[shape(spec)] = program
        self._graphs[shape(spec)] = Graph.of(spec)
        if program.compiled:
            self._measure_again(Graph.of(spec))

    def _measure_again(self, graph: Graph) -> None:
        """Let other shapes with this graph be measured again, since the graph is now compiled.

        These shapes were not worth compiling, but can now use the compiled code.
        """
        for shape_key, program in list(self._programs.items()):
            if self._graphs.get(shape_key) == graph and math.isfinite(program.repaid_steps):
                self._programs[shape_key] = replace(program, repaid_steps=0)

    def record_failure(self, pack: Pack) -> None:
        """Record that a pack failed, perhaps for lack of memory.

        If the pack had several trials, later packs of its shape have at most half as many. If the
        pack was a single compiled trial, trials of its shape are no longer compiled.
        """
        shape_key, members = shape(pack.assignments[0].spec), len(pack.assignments)
        if members > 1:
            program = self._programs[shape_key]
            self._programs[shape_key] = replace(
                program, members=members // 2, repaid_steps=math.inf
            )
        elif pack.compiled:
            self._programs[shape_key] = Program(reason="not compiled: a compiled trial failed")
            log.warning(
                "width %d: training is no longer compiled, since a compiled trial failed",
                pack.assignments[0].spec.model.width,
            )
