"""Processes that a dead process has left behind.

Ray's agents outlive a killed driver by about a minute, reparented to init, some in process groups
of their own. But their environment stays the same. A supervisor starts a child with a unique value
of the environment variable `MARKER`, every descendant inherits the value, and `end_all` kills all
processes with this value.

Ray's agents rename themselves, which overwrites the environment that other processes see, unless
`SPT_NOENV` is set; `workers.on_ray.cluster` sets it.
"""

import os
import time
from contextlib import suppress

import psutil

MARKER = "TELESCOPE_SUPERVISOR"
POLL_SECONDS = 0.02


def carrying(variable: str, value: str) -> set[psutil.Process]:
    """Return the living processes, this one excluded, that were started with `variable=value`."""
    return {
        process
        for process in psutil.process_iter()
        if process.pid != os.getpid() and _carries(process, variable, value)
    }


def _carries(process: psutil.Process, variable: str, value: str) -> bool:
    try:
        return alive(process) and bool(process.environ().get(variable) == value)
    except psutil.Error:  # the process has just ended, or belongs to another user
        return False


def alive(process: psutil.Process) -> bool:
    """True if the process exists and is not a zombie."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def end_all(marker: str, seconds: float, variable: str = MARKER) -> bool:
    """Kill all processes started with `variable=marker`, and processes that they start meanwhile.

    Returns True once all are dead, False if a process still lives after `seconds`.
    """
    deadline = time.monotonic() + seconds
    # kept, since a process that is about to end no longer has an environment
    killed: set[psutil.Process] = set()
    while living := carrying(variable, marker) | set(filter(alive, killed)):
        if time.monotonic() >= deadline:
            return False
        killed |= living
        for process in living:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(living, timeout=POLL_SECONDS)
    return True
