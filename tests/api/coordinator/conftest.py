"""A fixture that creates coordinators on the database of a test."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from api.coordinator.loop import Coordinator
from api.store.record import CoordinatorStore
from tests.executors import InstantExecutor


@pytest.fixture
def coordinate(record: CoordinatorStore, tmp_path: Path) -> Callable[..., Coordinator]:
    """A function that creates a coordinator on the same database and checkpoints."""

    def new(
        executor: InstantExecutor, on: CoordinatorStore = record, **options: Any
    ) -> Coordinator:
        coordinator = Coordinator(
            on, executor, tmp_path / "checkpoints", poll_seconds=1e-9, **options
        )
        coordinator.recover()
        return coordinator

    return new
