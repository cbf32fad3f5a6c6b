"""Supervision of the processes of one service.

`telescope serve` is a parent process with two children, `api` and `coordinator`. A child that dies
is restarted after a pause, which doubles with each early death. Before the restart, all processes
that the child started are killed (Ray's agents outlive their driver by about a minute). These
processes are identified by a marker in the environment, which all descendants inherit.

When the parent ends, even by SIGKILL, the children end too. Each child holds a *leash*: its
standard input is a pipe that closes with the parent.

Parts: `Child`, one process and its restarts · `on_signals`, `interruptible`, signal handling ·
`supervise`, the loop · `end`, which ends children · `hold_leash`, for a child · `port_to_use`.
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
GRACE_SECONDS = 5.0  # time for a child to end after SIGTERM; Ctrl-C may take 10 s in total
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 30.0
HEALTHY_SECONDS = 30.0  # a child that lived this long gets the first pause again


class Child:
    """One process of the service: `python -P -m api.cli NAME --leash`, restarted whenever it dies.

    -P keeps a folder `api` in the working directory from being imported instead.
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
        self.output = output  # None for the parent's standard error
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
        """If the child has died, kill its descendants; restart it once the pause is over."""
        time_now = time.monotonic()
        if self.restart_at is not None:
            if time_now >= self.restart_at:
                self.start()
        elif (status := self.process.poll()) is not None:
            if time_now - self.started >= HEALTHY_SECONDS:
                self.pause_seconds = FIRST_PAUSE_SECONDS
            pause = f"{self.pause_seconds:g} s"
            self.log(f"{self.name} ended with status {status}; restarting it in {pause}")
            self.sweep()
            self.deaths += 1
            self.restart_at = time_now + self.pause_seconds
            self.pause_seconds = min(2 * self.pause_seconds, LONGEST_PAUSE_SECONDS)

    def terminate(self) -> None:
        """Send SIGTERM, unless the child is dead."""
        self.process.terminate()

    def sweep(self) -> None:
        """Kill the process and all its remaining descendants."""
        end_all(self.marker, 1.0)
        self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()


@contextmanager
def on_signals(handler: Callable[[int, FrameType | None], Any] | signal.Handlers) -> Iterator[None]:
    """Handle SIGINT, SIGTERM and SIGHUP with `handler` within the context."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    previous = [signal.signal(number, handler) for number in signals]
    try:
        yield
    finally:
        for number, previous_handler in zip(signals, previous, strict=True):
            signal.signal(number, previous_handler)


def interruptible() -> AbstractContextManager[None]:
    """Raise KeyboardInterrupt on SIGINT, SIGTERM and SIGHUP within the context."""
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
    """End all children: SIGTERM, a grace period, then SIGKILL; further signals are ignored."""
    with on_signals(signal.SIG_IGN):
        for child in children:
            child.terminate()
        deadline = time.monotonic() + grace_seconds
        while any(child.process.poll() is None for child in children):
            if time.monotonic() >= deadline:
                break
            time.sleep(POLL_SECONDS)
        for child in children:
            child.sweep()


def hold_leash() -> None:
    """Start a thread that ends this process when the end of its parent closes standard input.

    The thread sends this process SIGTERM; after a grace period, it kills all descendants and exits.
    """

    def wait() -> NoReturn:
        while os.read(0, 1024):  # not sys.stdin: its lock would block shutdown
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE_SECONDS)
        if marker := os.environ.get(MARKER):
            end_all(marker, 1.0)
        os._exit(3)

    threading.Thread(target=wait, name="leash", daemon=True).start()


def port_to_use(host: str, port: int) -> int:
    """Return the port, or a free port if it is 0; raise Unavailable if the address is unusable.

    Uvicorn itself would only log the failure and exit.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            problem = f"cannot listen on {host}, port {port}: {error.strerror}"
            raise Unavailable(f"{problem}; choose another --port") from error
        return int(probe.getsockname()[1])
