"""Trials without any tuning library: one process per core, one function call per trial."""

import time
from multiprocessing.synchronize import Barrier

from benchmarks.peers import plain
from benchmarks.peers.plain import Recipe, train

WARM_SECONDS = 120.0  # limit for processes to be warm


def warm_up(recipe: Recipe, all_warm: Barrier) -> None:
    """Initialise a process and wait until all processes are warm."""
    plain.warm_up(recipe)
    all_warm.wait(WARM_SECONDS)


def run(recipe: Recipe) -> tuple[float, float, float]:
    """Return (held-out loss, start time, seconds)."""
    began, start = time.time(), time.perf_counter()
    *_, (_, loss) = train(recipe)
    return loss, began, time.perf_counter() - start
