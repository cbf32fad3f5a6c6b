"""Finds and kills the processes that a dead process has left behind.

When the process that started Ray is killed, some of Ray's processes live on for about a minute.
Neither their parent nor their process group shows where they came from, but their environment does.
A supervisor starts a child with a unique value of the environment variable `MARKER`. Descendants of
the child inherit this value, and `end_all` kills the processes that have it.

Some of Ray's processes rename themselves, which overwrites the environment that other processes
see. The environment variable `SPT_NOENV` prevents this; `workers.on_ray.cluster` sets it.
"""

import os
import time
from contextlib import suppress

import psutil

MARKER = "TELESCOPE_SUPERVISOR"  # name of the environment variable
POLL_SECONDS = 0.02


def carrying(variable: str, value: str) -> set[psutil.Process]:
    """Return the living processes that were started with `variable=value`, except this one."""
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
    """Kill all processes that were started with `variable=marker`, except this one.

    Children that these processes start meanwhile are killed, too. Return True once all are dead, or
    False if a process still lives after `seconds`.
    """
    deadline = time.monotonic() + seconds
    # remembered, since the environment of a process that is about to end cannot be read
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
