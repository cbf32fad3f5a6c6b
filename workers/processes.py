"""How are all processes found that a dead one has left behind?

Ray's processes outlive a driver that was killed: its agents for about a minute, reparented to init, some in process groups of their
own. What they keep is their environment. A supervisor starts its child with a `MARKER` of its own in the environment, every
descendant inherits it, and `end_all` kills whoever carries it.

(Ray's agents rename themselves, which writes over the environment that others see, unless `SPT_NOENV` forbids it:
`workers.ray_cluster` sets that.)
"""

import os
import time
from contextlib import suppress

import psutil

MARKER = "TELESCOPE_SUPERVISOR"
POLL_SECONDS = 0.02


def carrying(variable: str, value: str) -> list[psutil.Process]:
    """Living processes, other than this one, that were started with `variable` set to `value`."""
    return [process for process in psutil.process_iter() if process.pid != os.getpid() and _carries(process, variable, value)]


def _carries(process: psutil.Process, variable: str, value: str) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE and process.environ().get(variable) == value)
    except psutil.Error:  # it ended meanwhile, or belongs to somebody else
        return False


def end_all(marker: str, seconds: float, variable: str = MARKER) -> bool:
    """Kill all processes that carry the marker, and those that they start meanwhile, for up to `seconds`; True when none is left."""
    deadline = time.monotonic() + seconds
    while processes := carrying(variable, marker):
        if time.monotonic() >= deadline:
            return False
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, timeout=POLL_SECONDS)
    return True
