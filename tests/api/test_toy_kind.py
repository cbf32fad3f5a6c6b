"""A new kind of study needs one package and one entry in the registry.

A job of that kind runs from POST to result over HTTP, with real training.
"""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from rich.console import Console

import migrations
from api.coordinator.loop import Coordinator
from api.http.app import create_app
from api.job_states import JobState
from api.jobs.exports import EXPORTERS
from api.jobs.from_jobs import FILLERS
from api.settings import Settings
from api.store.record import CoordinatorStore
from api.terminal.views import VIEWS, view_of
from telescope.studies import registry
from tests.api.coordinator.driving import drive
from tests.toy_kind.kind import KIND
from workers.local import LocalExecutor

DUEL: dict[str, Any] = {
    "kind": "duel",
    "model": {"width": 16, "base_width": 16, "depth": 1, "head_dim": 8},
    "data": {"corpus": "python-stdlib", "context": 32},
    "horizon": {"steps": 12, "batch_tokens": 128, "evaluation_tokens": 512},
    "first": 1e-6,
    "second": 0.01,
}


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.KINDS, KIND.name, KIND)


@pytest.fixture
def record(tmp_path: Path) -> Iterator[CoordinatorStore]:
    url = f"sqlite:///{tmp_path}/telescope.db"
    migrations.upgrade(url)
    store = CoordinatorStore(url)
    yield store
    store.close()


@pytest.fixture
def http(registered: None, record: CoordinatorStore) -> Iterator[TestClient]:
    with TestClient(
        create_app(Settings(database_url=record.url)), base_url="http://127.0.0.1"
    ) as client:
        yield client


def test_a_new_kind_goes_from_a_posted_job_to_its_result(
    http: TestClient, record: CoordinatorStore, tmp_path: Path
) -> None:
    job = http.post("/v1/jobs", json=DUEL)
    assert job.status_code == 202, job.text
    job_id = job.json()["id"]
    executor = LocalExecutor()
    try:
        coordinator = Coordinator(record, executor, tmp_path / "checkpoints", poll_seconds=0.01)
        drive(coordinator, lambda: record.job(job_id).state.terminal)
    finally:
        executor.close()
    assert record.job(job_id).state is JobState.SUCCEEDED, record.job(job_id).reason

    result = http.get(f"/v1/jobs/{job_id}/result").json()
    assert (result["final"], result["verdict"], result["lr"]) == (True, "resolved", 0.01)
    trials = http.get(f"/v1/jobs/{job_id}/trials").json()["items"]
    labels = [[trial[key] for key in ("ladder", "stage", "level", "variant")] for trial in trials]
    assert labels == [["adamw", "duel", None, ""]] * 2
    assert min(trials, key=lambda trial: trial["loss"])["lr"] == result["lr"]
    assert http.get(f"/v1/jobs/{job_id}").json()["study"]["first"] == 1e-6

    registered_elsewhere = "duel" in {*VIEWS, *EXPORTERS, *FILLERS}
    assert not registered_elsewhere, "the kind needs more than its package and the registry"
    output = io.StringIO()
    view_of("duel").show(result, DUEL, Console(width=100, file=output))
    assert "verdict" in output.getvalue()
    assert "0.01" in output.getvalue()


def test_invalid_documents_and_requests_of_a_new_kind_are_refused(http: TestClient) -> None:
    forecast = http.post("/v1/jobs:preview", json=DUEL)
    assert forecast.status_code == 200, forecast.text
    assert forecast.json()["flops"] > 0
    equal = http.post("/v1/jobs", json=DUEL | {"second": 1e-6})
    assert (equal.status_code, equal.json()["errors"][0]["field"]) == (422, "second")
    unknown = http.post("/v1/jobs", json=DUEL | {"third": 1.0})
    assert (unknown.status_code, unknown.json()["errors"][0]["field"]) == (422, "third")
    job_id = http.post("/v1/jobs", json=DUEL).json()["id"]
    assert http.get(f"/v1/jobs/{job_id}/frontier", params={"target_loss": 2.0}).status_code == 422
    assert http.get(f"/v1/jobs/{job_id}/export", params={"to": "json"}).status_code == 422


def test_the_openapi_document_has_the_question_and_report_of_a_new_kind(http: TestClient) -> None:
    schemas = http.get("/openapi.json").json()["components"]["schemas"]
    assert {"DuelQuestion", "DuelReport"} <= schemas.keys()
