"""Small studies, and helpers that drive a coordinator step by step."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection

from api.coordinator.loop import Coordinator
from api.store.record import CoordinatorStore
from telescope.studies import registry, run_study
from telescope.trials.outcome import TrialState
from tests.executors import train_one

DEADLINE_SECONDS = 60


def document(**changes: Any) -> dict[str, Any]:
    """A small study by the paper's rule: 4 runs at width 32, 2 at 64."""
    study = {
        "kind": "telescope",
        "name": "small",
        "optimizer": "adamw",
        "model": {
            "base_width": 32,
            "calibration_width": 64,
            "target_width": 128,
            "depth": 1,
            "head_dim": 16,
        },
        "data": {"corpus": "none", "context": 16, "content": "none", "vocab_size": 256},
        "horizon": {"steps": 5, "batch_tokens": 32},
        "search": {"lr": {"low": 0.005, "high": 0.25, "points": 4}},
        "schedule": "paper",
        "coordinates": "skip",  # the instant executor has no layers to measure
    }
    return registry.to_document(registry.parse(study | changes))


WIDER = {"lr": {"low": 0.005, "high": 0.25, "points": 8}}
ROBUST = {
    "model": {
        "base_width": 32,
        "calibration_width": 128,
        "target_width": 256,
        "depth": 1,
        "head_dim": 16,
    },
    "search": {
        "lr": {"low": 0.002, "high": 0.25, "points": 8},
        "weight_decay": {"low": 0.01, "high": 1.0, "points": 3},
    },
    "schedule": "robust",
    "optimizer": ["muon", "adamw"],
    "horizon": {"steps": 2, "batch_tokens": 32},
}


def expected(study: dict[str, Any]) -> Any:
    """The report of the plain loop, which has no database."""
    return registry.report_document(run_study(registry.parse(study), train_one))


def drive(coordinator: Coordinator, reached: Callable[[], bool]) -> None:
    """Step the coordinator until a condition holds."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not reached():
        assert time.monotonic() < deadline, f"not within {DEADLINE_SECONDS} s"
        coordinator.step()


def ended(record: CoordinatorStore, *job_ids: str) -> Callable[[], bool]:
    return lambda: all(record.job(job_id).state.terminal for job_id in job_ids)


def states(record: CoordinatorStore, job_id: str) -> set[TrialState]:
    return {trial.state for trial in record.trials(job_id, 1000).items}


Coordinate = Callable[..., Coordinator]


def without_costs(report: Any) -> dict[str, Any]:
    """A report without the fields that depend on the cost of the job."""
    return report | {
        "ladders": [{**ladder, "cost": None, "remedy": None} for ladder in report["ladders"]]
    }


class Killed(BaseException):
    """The coordinator's process was killed at this point."""


class Mortal(CoordinatorStore):
    """A store that raises `death` with some probability at a read, or before or after a write.

    The exception kills the coordinator, or stands for a database that cannot be reached.
    """

    def __init__(
        self, url: str, chance: float, rng: random.Random, death: type[BaseException]
    ) -> None:
        super().__init__(url)
        self._chance, self._rng, self._death = chance, rng, death

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        self._raise_at_random()
        with super()._write() as connection:
            yield connection
        self._raise_at_random()

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        self._raise_at_random()
        with super()._read() as connection:
            yield connection

    def _raise_at_random(self) -> None:
        if self._rng.random() < self._chance:
            raise self._death("now")
