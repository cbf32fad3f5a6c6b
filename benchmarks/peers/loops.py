"""Many trials without a tuning library: there is one process per core, and each trial is one call.

The process pool that makes the calls is in `benchmarks.arms`.
"""

import time
from multiprocessing.synchronize import Barrier

from benchmarks.peers import plain
from benchmarks.peers.plain import Recipe, train

WARM_SECONDS = 120.0  # longest time to wait until all processes are warm


def warm_up(recipe: Recipe, all_warm: Barrier) -> None:
    """Initialise a process by training one trial, and wait until all processes have done so."""
    plain.warm_up(recipe)
    all_warm.wait(WARM_SECONDS)


def run(recipe: Recipe) -> tuple[float, float, float]:
    """Train a trial; return its held-out loss, its start as Unix time, and its seconds."""
    began, start = time.time(), time.perf_counter()
    *_, (_, loss) = train(recipe)
    return loss, began, time.perf_counter() - start
