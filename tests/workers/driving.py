"""Helpers of the tests of executors: assignments, and waiting for events with a deadline."""

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import psutil

from telescope.train.loop import train_one
from telescope.trials.outcome import Measurement
from telescope.trials.spec import TrialSpec
from tests.telescope.small import HORIZON
from workers import processes
from workers.interface import (
    TERMINAL,
    Assignment,
    Event,
    Executor,
    Finished,
    Measured,
    Started,
    Waiting,
)

LONG = replace(HORIZON, steps=1_000_000, record_every=5)


class Driver:
    """Submits trials to an executor and stores all its events."""

    def __init__(self, executor: Executor, folder: Path) -> None:
        self.executor = executor
        self.folder = folder
        self.seen: list[Event] = []
        # never used before with this executor
        self._trial_id = self._first_id = int(time.time() * 1000)

    def assignment(self, spec: TrialSpec, checkpoint: str | None = None) -> Assignment:
        self._trial_id += 1
        return Assignment(
            self._trial_id, 1, spec, checkpoint or str(self.folder / f"{self._trial_id}.pt")
        )

    def submit(self, spec: TrialSpec, checkpoint: str | None = None) -> Assignment:
        assignment = self.assignment(spec, checkpoint)
        self.executor.submit(assignment)
        return assignment

    def stop_all(self) -> None:
        """Stop all trials that a test left running."""
        for trial_id in range(self._first_id, self._trial_id + 1):
            self.executor.stop(trial_id)

    def until(self, reached: Callable[[], bool], seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not reached():
            assert time.monotonic() < deadline, f"waited {seconds} s; saw {self.seen[-5:]}"
            self.seen += self.executor.events(0.1)

    def of(self, assignment: Assignment) -> list[Event]:
        attempt = (assignment.trial_id, assignment.attempt)
        return [
            event
            for event in self.seen
            if not isinstance(event, Waiting) and (event.trial_id, event.attempt) == attempt
        ]

    def started(self, assignment: Assignment) -> Started | None:
        return next((event for event in self.of(assignment) if isinstance(event, Started)), None)

    def pid(self, assignment: Assignment) -> int:
        """Process id of the worker."""
        started = self.started(assignment)
        assert started is not None
        return int(started.worker.rpartition(":")[2])

    def terminal(self, assignment: Assignment) -> Event | None:
        return next((event for event in self.of(assignment) if isinstance(event, TERMINAL)), None)

    def until_points(self, assignment: Assignment) -> None:
        self.until(lambda: any(isinstance(event, Measured) for event in self.of(assignment)))

    def until_end(self, *assignments: Assignment, seconds: float = 60.0) -> list[Event]:
        self.until(lambda: all(self.terminal(a) for a in assignments), seconds)
        return self.of(assignments[-1])

    def curve(self, assignment: Assignment) -> list[Measurement]:
        """The points of a trial's curve; a repeated point counts once, as in the database."""
        points = [
            point
            for event in self.of(assignment)
            if isinstance(event, (Measured, Finished))
            for point in event.points
        ]
        return list({point.step: point for point in points}.values())


def without_seconds(curve: Sequence[Measurement]) -> list[Measurement]:
    """A curve without its seconds, which differ between runs."""
    return [replace(point, seconds=0.0) for point in curve]


def reference_curve(spec: TrialSpec) -> list[Measurement]:
    """The curve of a plain loop in this process, without seconds."""
    return without_seconds(list(train_one(spec)))


def until_dead(process_list: Iterable[psutil.Process], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while living := [process for process in process_list if processes.alive(process)]:
        assert time.monotonic() < deadline, f"still running: {living}"


def descendants(pid: int | None = None) -> list[psutil.Process]:
    """A process's descendants."""
    return list(psutil.Process(pid).children(recursive=True))


class Child:
    """Another Python process, and its output."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def line(self, seconds: float = 60.0) -> str:
        """The next line of its output."""
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], seconds)
        assert readable, f"no line within {seconds} s"
        return self.process.stdout.readline().strip()


@contextmanager
def python(
    module: str, *arguments: str, environment: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Child]:
    """A child process that runs a module; the end of the block closes its standard input."""
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Child(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(20)
