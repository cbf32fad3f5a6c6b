"""How do the processes of one service live together, and end together?

`telescope serve` is a parent with two children, `api` and `coordinator`. A child that dies is started again, after a pause that
grows while it keeps dying; before that, everything the dead one had started is ended too (Ray's agents were seen to outlive their
driver by a minute), found by a marker in the environment that all its descendants inherit. When the parent ends, by Ctrl-C, by a
signal, or killed, so do the children: each holds a *leash*, its standard input, a pipe that closes with the parent.

Parts: `Child` (one process and its restarts) · `supervise` (the loop) · `hold_leash` (the child's side) · `port_to_use`.
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
GRACE_SECONDS = 5.0  # for a child to end by itself after SIGTERM; with what follows, less than the 10 s that Ctrl-C may take
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 30.0
HEALTHY_SECONDS = 30.0  # a child that lived this long is started again at once


class Child:
    """One process of the service: `python -P -m api.cli NAME --leash`, started again whenever it dies.

    -P: a folder `api` where the user happens to be is not ours.
    """

    def __init__(self, name: str, environment: Mapping[str, str], log: Callable[[str], None], output: IO[bytes] | None = None) -> None:
        self.name = name
        self.environment = environment
        self.log = log
        self.output = output  # where it writes; None: where the parent does
        self.deaths = 0
        self.pause_seconds = FIRST_PAUSE_SECONDS
        self.start()

    def start(self) -> None:
        """Start the process in a session of its own, so that a terminal's Ctrl-C reaches the parent alone."""
        self.marker = f"{self.name}-{uuid.uuid4().hex}"
        self.started = time.monotonic()
        self.restart_at: float | None = None
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "api.cli", self.name, "--leash"],
            env={**self.environment, MARKER: self.marker},
            stdin=subprocess.PIPE,
            stdout=self.output or sys.stderr,
            stderr=self.output,
            start_new_session=True,
        )

    def tend(self) -> None:
        """Notice a death, sweep up after it, and start again when the pause is over."""
        now = time.monotonic()
        if self.restart_at is not None:
            if now >= self.restart_at:
                self.start()
        elif (status := self.process.poll()) is not None:
            if now - self.started >= HEALTHY_SECONDS:
                self.pause_seconds = FIRST_PAUSE_SECONDS
            self.log(f"{self.name} ended with status {status}; starting it again in {self.pause_seconds:g} s")
            self.sweep()
            self.deaths += 1
            self.restart_at = now + self.pause_seconds
            self.pause_seconds = min(2 * self.pause_seconds, LONGEST_PAUSE_SECONDS)

    def ask_to_end(self) -> None:
        """SIGTERM; a dead child does not mind."""
        self.process.terminate()

    def sweep(self) -> None:
        """End the process and whatever it started that is still there."""
        end_all(self.marker, 1.0)
        self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()


@contextmanager
def on_signals(handler: Callable[[int, FrameType | None], Any] | signal.Handlers) -> Iterator[None]:
    """Inside, SIGINT, SIGTERM and SIGHUP all go to `handler`."""
    names = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(name, handler) for name in names]
    try:
        yield
    finally:
        for name, earlier in zip(names, before, strict=True):
            signal.signal(name, earlier)


def interruptible() -> AbstractContextManager[None]:
    """Inside, every signal that asks for the end raises KeyboardInterrupt in the main thread, as Ctrl-C does."""
    return on_signals(signal.default_int_handler)


def supervise(
    names: Sequence[str],
    environment: Mapping[str, str],
    is_ready: Callable[[], bool],
    on_ready: Callable[[], None],
    log: Callable[[str], None],
) -> None:
    """Keep one child per name alive until a signal comes, then end them all; calls `on_ready` once, when `is_ready`."""
    children: list[Child] = []
    announced = False
    try:
        with interruptible():
            for name in names:
                children.append(Child(name, environment, log))
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
    """Ask all, wait a while, then sweep; further signals do not disturb it."""
    with on_signals(signal.SIG_IGN):
        for child in children:
            child.ask_to_end()
        deadline = time.monotonic() + grace_seconds
        while time.monotonic() < deadline and any(child.process.poll() is None for child in children):
            time.sleep(POLL_SECONDS)
        for child in children:
            child.sweep()


def hold_leash() -> None:
    """End this process when its standard input closes, which is when its parent is no more: politely, then surely."""

    def wait() -> NoReturn:
        while os.read(0, 1024):  # not sys.stdin, whose lock a waiting thread would hold while Python shuts down
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE_SECONDS)
        if marker := os.environ.get(MARKER):
            end_all(marker, 1.0)
        os._exit(3)

    threading.Thread(target=wait, name="leash", daemon=True).start()


def port_to_use(host: str, port: int) -> int:
    """The port, or for 0 one that is free; what uvicorn would refuse in a log is refused at once, with a remedy."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise Unavailable(f"cannot listen on {host}, port {port}: {error.strerror}; choose another with --port") from error
        return int(probe.getsockname()[1])
