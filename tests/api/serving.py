"""A service as users start it: `telescope serve` in a separate process.

It listens on a free port and has one local worker.
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil

from telescope.client.client import Client
from telescope.errors import Unavailable

Value = TypeVar("Value")
START_SECONDS = 90.0  # machines that run tests are busy


@dataclass
class Service:
    process: subprocess.Popen
    url: str

    def child(self, name: str) -> psutil.Process | None:
        for process in psutil.Process(self.process.pid).children():
            with suppress(psutil.Error):  # the process may have ended
                if name in process.cmdline():
                    return process
        return None

    def is_ready(self) -> bool:
        with Client(self.url) as client:
            try:
                return client.ready()["coordinator"] == "ok"
            except Unavailable:
                return False

    def tree(self) -> list[psutil.Process]:
        """The process of the service and all its descendants."""
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]


def environment(home: Path) -> dict[str, str]:
    """The environment of this process with this TELESCOPE_HOME and no other settings."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("TELESCOPE_")
    }
    return inherited | {
        "TELESCOPE_HOME": str(home),
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "default",
    }


@contextmanager
def serving(home: Path, **settings: str) -> Iterator[Service]:
    """Start a service and yield it once it is ready; it ends with the block."""
    command = [sys.executable, "-m", "api.cli", "serve", "--port", "0", "--executor", "local"]
    process = subprocess.Popen(
        command, env=environment(home) | settings, stderr=subprocess.PIPE, text=True
    )
    lines: list[str] = []
    reader = threading.Thread(
        target=lambda: lines.extend(iter(process.stderr.readline, "")), daemon=True
    )
    reader.start()
    try:
        ready = eventually(
            lambda: re.search(r"ready at (http://\S+)", "".join(lines)),
            START_SECONDS,
            lambda: "".join(lines),
        )
        yield Service(process, ready.group(1))
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(30)
        reader.join(30)
        process.stderr.close()


def eventually(
    condition: Callable[[], Value], seconds: float, detail: Callable[[], object] = lambda: ""
) -> Value:
    """Call `condition` until it returns a true value; return that value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s; {detail()}"
        time.sleep(0.05)
    return value
