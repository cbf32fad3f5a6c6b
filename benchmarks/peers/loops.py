"""How would a user run such trials without any tool? One process per core, each trial a call."""

import time

from benchmarks.peers.plain import Recipe, train, warm_up


def run(recipe: Recipe) -> tuple[float, float, float]:
    """(held-out loss, when it began, seconds)."""
    warm_up()
    began, clock = time.time(), time.perf_counter()
    *_, (_, loss) = train(recipe)
    return loss, began, time.perf_counter() - clock
