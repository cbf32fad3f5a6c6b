"""The supervisor, which keeps the processes of a service alive.

`telescope serve` is a parent process with two children, `api` and `coordinator`. A child that dies
is restarted after a pause. The pause doubles with each death, up to LONGEST_PAUSE_SECONDS. Once a
child has lived for HEALTHY_SECONDS, its next pause is FIRST_PAUSE_SECONDS again. Before the
restart, all processes that the child started are killed, since some processes of Ray would
otherwise live on for about a minute. These processes are found by an environment variable that a
child and all its descendants have (`workers.processes`).

When the parent ends, even by SIGKILL, the children end too. The standard input of each child is a
pipe from the parent, called the *leash*. The operating system closes the pipe when the parent ends,
and the child then ends itself (`hold_leash`).
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import IO, Any, NoReturn

from telescope.errors import Unavailable
from workers.processes import MARKER, end_all

POLL_SECONDS = 0.1
GRACE_SECONDS = 5.0  # time that a child has to end after SIGTERM
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 30.0
HEALTHY_SECONDS = 30.0  # after the death of a child that lived this long, the first pause applies


class Child:
    """One process of the service. Regular calls of `tend` restart the process whenever it dies.

    The process runs `python -P -m api.cli NAME --leash`. Because of -P, Python does not import a
    folder `api` in the working directory instead of telescope's package.
    """

    def __init__(
        self,
        name: str,
        environment: Mapping[str, str],
        log: Callable[[str], None],
        output: IO[bytes] | None = None,
    ) -> None:
        self.name = name
        self.environment = environment
        self.log = log
        self.output = output  # the file that the process writes to; None: the parent's stderr
        self.deaths = 0
        self.pause_seconds = FIRST_PAUSE_SECONDS
        self.start()

    def start(self) -> None:
        """Start the process in a new session, so that Ctrl-C reaches only the parent."""
        self.marker = f"{self.name}-{uuid.uuid4().hex}"
        self.started = time.monotonic()
        self.restart_at: float | None = None
        self.process = subprocess.Popen(  # noqa: S603 (our own module)
            [sys.executable, "-P", "-m", "api.cli", self.name, "--leash"],
            env={**self.environment, MARKER: self.marker},
            stdin=subprocess.PIPE,
            stdout=self.output or sys.stderr,
            stderr=self.output,
            start_new_session=True,
        )

    def tend(self) -> None:
        """If the child has died, kill its descendants. If its pause is over, restart it."""
        time_now = time.monotonic()
        if self.restart_at is not None:
            if time_now >= self.restart_at:
                self.start()
        elif (status := self.process.poll()) is not None:
            if time_now - self.started >= HEALTHY_SECONDS:
                self.pause_seconds = FIRST_PAUSE_SECONDS
            pause = f"{self.pause_seconds:g} s"
            self.log(f"{self.name} ended with status {status}; restarting it in {pause}")
            self.kill_remaining()
            self.deaths += 1
            self.restart_at = time_now + self.pause_seconds
            self.pause_seconds = min(2 * self.pause_seconds, LONGEST_PAUSE_SECONDS)

    def terminate(self) -> None:
        """Send SIGTERM to the child, unless it is dead."""
        self.process.terminate()

    def kill_remaining(self) -> None:
        """Kill the child and all its descendants that are still alive."""
        end_all(self.marker, 1.0)
        self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()


@contextmanager
def on_signals(handler: Callable[[int, FrameType | None], Any] | signal.Handlers) -> Iterator[None]:
    """Within the context, handle SIGINT, SIGTERM and SIGHUP with `handler`."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    previous = [signal.signal(number, handler) for number in signals]
    try:
        yield
    finally:
        for number, previous_handler in zip(signals, previous, strict=True):
            signal.signal(number, previous_handler)


def interruptible() -> AbstractContextManager[None]:
    """Within the context, raise KeyboardInterrupt on SIGINT, SIGTERM and SIGHUP."""
    return on_signals(signal.default_int_handler)


def supervise(
    names: Sequence[str],
    environment: Mapping[str, str],
    is_ready: Callable[[], bool],
    on_ready: Callable[[], None],
    log: Callable[[str], None],
) -> None:
    """Keep one child per name alive until a signal arrives, then end all children.

    `on_ready` is called once, as soon as `is_ready` returns True.
    """
    children: list[Child] = []
    announced = False
    try:
        with interruptible():
            for name in names:
                children.append(Child(name, environment, log))  # noqa: PERF401 (ended below)
            while True:
                for child in children:
                    child.tend()
                if not announced and is_ready():
                    announced = True
                    on_ready()
                time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        log("stopping")
    finally:
        end(children)


def end(children: Sequence[Child], grace_seconds: float = GRACE_SECONDS) -> None:
    """End all children and their descendants.

    Each child receives SIGTERM. After at most `grace_seconds`, all remaining processes are killed.
    Meanwhile, this process ignores SIGINT, SIGTERM and SIGHUP.
    """
    with on_signals(signal.SIG_IGN):
        for child in children:
            child.terminate()
        deadline = time.monotonic() + grace_seconds
        while any(child.process.poll() is None for child in children):
            if time.monotonic() >= deadline:
                break
            time.sleep(POLL_SECONDS)
        for child in children:
            child.kill_remaining()


def hold_leash() -> None:
    """Start a thread that ends this process when its parent ends.

    Standard input closes when the parent ends. The thread then sends this process SIGTERM. If the
    process still runs after GRACE_SECONDS, the thread kills the descendants of the process and ends
    the process.
    """

    def wait() -> NoReturn:
        while os.read(0, 1024):  # sys.stdin would hold a lock that blocks shutdown
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE_SECONDS)
        if marker := os.environ.get(MARKER):
            end_all(marker, 1.0)
        os._exit(3)

    threading.Thread(target=wait, name="leash", daemon=True).start()


def port_to_use(host: str, port: int) -> int:
    """Return the port that the HTTP server should use: `port`, or a free port if `port` is 0.

    Raises Unavailable if the server cannot listen on that port of `host`. Without this check,
    Uvicorn (the HTTP server) would log the failure and exit, but would not name a remedy.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            problem = f"cannot listen on {host}, port {port}: {error.strerror}"
            raise Unavailable(f"{problem}; choose another --port or --host") from error
        return int(probe.getsockname()[1])
