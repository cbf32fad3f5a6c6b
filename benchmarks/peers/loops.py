"""Trials without any tool: one process per core, each trial a call."""

import time
from multiprocessing.synchronize import Barrier

from benchmarks.peers import plain
from benchmarks.peers.plain import Recipe, train

WARM_SECONDS = 120.0  # that processes may take to be warm


def warm_up(recipe: Recipe, all_warm: Barrier) -> None:
    """Initialise a process; none takes a trial before all are warm."""
    plain.warm_up(recipe)
    all_warm.wait(WARM_SECONDS)


def run(recipe: Recipe) -> tuple[float, float, float]:
    """Return (held-out loss, start time, seconds)."""
    began, clock = time.time(), time.perf_counter()
    *_, (_, loss) = train(recipe)
    return loss, began, time.perf_counter() - clock
