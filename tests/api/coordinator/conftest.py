"""Coordinators of a test's database."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from api.coordinator.loop import Coordinator
from api.store.record import CoordinatorStore
from tests.executors import InstantExecutor


@pytest.fixture
def coordinate(record: CoordinatorStore, tmp_path: Path) -> Callable[..., Coordinator]:
    """A new coordinator on the same database and the same checkpoints."""

    def new(
        executor: InstantExecutor, on: CoordinatorStore = record, **options: Any
    ) -> Coordinator:
        coordinator = Coordinator(
            on, executor, tmp_path / "checkpoints", poll_seconds=1e-9, **options
        )
        coordinator.recover()
        return coordinator

    return new
