"""Processes that a dead process has left behind.

Ray's processes outlive a driver that was killed: its agents for about a minute, reparented to init,
some in their own process groups. But they keep their environment. A supervisor starts its child
with a unique value of `MARKER` in the environment, every descendant inherits it, and `end_all`
kills all processes that carry it.

(Ray's agents rename themselves, which overwrites the environment that other processes see, unless
`SPT_NOENV` forbids it: `workers.on_ray.cluster` sets that.)
"""

import os
import time
from contextlib import suppress

import psutil

MARKER = "TELESCOPE_SUPERVISOR"
POLL_SECONDS = 0.02


def carrying(variable: str, value: str) -> set[psutil.Process]:
    """Living processes, other than this one, that were started with `variable` set to `value`."""
    return {
        process
        for process in psutil.process_iter()
        if process.pid != os.getpid() and _carries(process, variable, value)
    }


def _carries(process: psutil.Process, variable: str, value: str) -> bool:
    try:
        return alive(process) and bool(process.environ().get(variable) == value)
    except psutil.Error:  # it ended meanwhile, or belongs to another user
        return False


def alive(process: psutil.Process) -> bool:
    """True if the process runs or could run: a zombie does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def end_all(marker: str, seconds: float, variable: str = MARKER) -> bool:
    """Kill all processes that carry the marker, and those that they start meanwhile, for up to
    `seconds`; returns True if none is left."""
    deadline = time.monotonic() + seconds
    # accumulated, since a process that is about to end has no environment any more
    found: set[psutil.Process] = set()
    while left := carrying(variable, marker) | set(filter(alive, found)):
        if time.monotonic() >= deadline:
            return False
        found |= left
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=POLL_SECONDS)
    return True
