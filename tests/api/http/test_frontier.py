"""Answers to a target loss over HTTP: pages, CSV, ETags, and refusals.

The tests run on both databases, with curves of known laws.
"""

import csv
import io
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import TypeAdapter
from sqlalchemy import text

import migrations
from api.http import schemas
from api.http.app import create_app
from api.http.representations import CSV
from api.jobs.analyses import Analyses, analysed
from api.settings import Settings
from api.store.record import CoordinatorStore
from api.store.store import Store
from surfaces.batch_jobs import ATTAINED, document, finished_job
from telescope.studies import registry
from telescope.studies.compute_time.rows import (
    BatchAnswer,
    BatchRow,
    FrontierAnswer,
    FrontierRow,
    RatioAnswer,
    RatioRow,
)
from tests.api.http.test_http import problem
from tests.api.store.test_store import counted
from tests.api.trials import DOCUMENT

ANSWERS = {
    "frontier": (FrontierAnswer, FrontierRow, schemas.FrontierPage),
    "batch-sizes": (BatchAnswer, BatchRow, schemas.BatchPage),
    "token-ratio": (RatioAnswer, RatioRow, schemas.RatioPage),
}
TABLES = list(ANSWERS)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    url = f"sqlite:///{tmp_path_factory.mktemp('app')}/telescope.db"
    migrations.upgrade(url)
    return create_app(Settings(database_url=url))


@pytest.fixture
def service(app: FastAPI, database_url: str) -> Iterator[TestClient]:
    app.state.store, app.state.analyses = Store(database_url), Analyses()
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client
    app.state.store.close()


@pytest.fixture
def job_id(record: CoordinatorStore) -> str:
    return finished_job(record, document())


def expected(record: CoordinatorStore, job_id: str, table: str, *arguments: Any) -> Any:
    """The answer that the analysis gives without HTTP."""
    return getattr(analysed(job_id, record), table.replace("-", "_"))(ATTAINED, *arguments)


def all_pages(service: TestClient, path: str, **parameters: Any) -> Any:
    """The answer, with the rows of all pages in `rows`."""
    rows: list[Any] = []
    while True:
        response = service.get(path, params=parameters)
        assert response.status_code == 200, response.text
        page = response.json()
        assert len(page["items"]) <= parameters["page_size"]
        rows += page.pop("items")
        if (token := page.pop("next_page_token")) is None:
            return page | {"rows": rows}
        parameters["page_token"] = token


@pytest.mark.parametrize("table", TABLES)
def test_an_answer_in_pages_is_the_answer_of_the_analysis(
    service: TestClient, record: CoordinatorStore, job_id: str, table: str
) -> None:
    answer = all_pages(service, f"/v1/jobs/{job_id}/{table}", target_loss=ATTAINED, page_size=3)
    assert answer == registry.report_document(expected(record, job_id, table))
    assert len(answer["rows"]) > 6


@pytest.mark.parametrize("table", TABLES)
def test_csv_has_all_rows_a_column_per_field_and_every_digit(
    service: TestClient, record: CoordinatorStore, job_id: str, table: str
) -> None:
    response = service.get(
        f"/v1/jobs/{job_id}/{table}", params={"target_loss": ATTAINED}, headers={"Accept": CSV}
    )
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    _, kind, _ = ANSWERS[table]
    header, *rows = csv.reader(io.StringIO(response.text, newline=""))
    assert header == [field.name for field in fields(kind)]
    as_text = [
        {name: value or None for name, value in zip(header, row, strict=True)} for row in rows
    ]
    assert TypeAdapter(list[kind]).validate_python(as_text) == list(
        expected(record, job_id, table).rows
    )


@pytest.mark.parametrize("table", ["frontier", "batch-sizes"])
def test_an_answer_can_be_limited_to_one_optimizer(
    service: TestClient, record: CoordinatorStore, job_id: str, table: str
) -> None:
    answer = all_pages(
        service,
        f"/v1/jobs/{job_id}/{table}",
        target_loss=ATTAINED,
        optimizer="adamw",
        page_size=1000,
    )
    assert answer == registry.report_document(expected(record, job_id, table, "adamw"))
    assert {row["optimizer"] for row in answer["rows"]} == {"adamw"}


@pytest.mark.parametrize("table", TABLES)
def test_a_page_has_every_field_of_the_answer(table: str) -> None:
    answer, _, page = ANSWERS[table]
    names = {"items" if field.name == "rows" else field.name for field in fields(answer)}
    assert set(page.model_fields) == names | {"next_page_token"}


# Tags


def queries(statements: list[str]) -> list[str]:
    """The statements without the BEGIN of SQLite's transactions."""
    return [statement for statement in statements if statement != "BEGIN"]


@pytest.mark.parametrize("table", TABLES)
def test_a_request_with_the_current_etag_costs_one_query_and_no_analysis(
    app: FastAPI, service: TestClient, job_id: str, table: str
) -> None:
    path, parameters = f"/v1/jobs/{job_id}/{table}", {"target_loss": ATTAINED}
    first = service.get(path, params=parameters)
    assert first.headers["vary"] == "Accept"
    app.state.analyses = None  # any use of it would raise an error
    with counted(app.state.store) as statements:
        unchanged = service.get(
            path, params=parameters, headers={"If-None-Match": first.headers["etag"]}
        )
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert (unchanged.headers["etag"], unchanged.headers["vary"]) == (
        first.headers["etag"],
        "Accept",
    )
    assert len(queries(statements)) == 1


def test_another_target_of_the_same_version_costs_one_query(
    app: FastAPI, service: TestClient, job_id: str
) -> None:
    counts = []
    for target in (ATTAINED, 2.1, 2.2):
        with counted(app.state.store) as statements:
            response = service.get(f"/v1/jobs/{job_id}/frontier", params={"target_loss": target})
        assert response.status_code == 200
        counts.append(len(queries(statements)))
    assert counts == [4, 1, 1]


def test_every_parameter_of_a_request_changes_the_etag(
    app: FastAPI, service: TestClient, record: CoordinatorStore, job_id: str
) -> None:
    def tag(
        job: str = job_id, table: str = "frontier", accept: str = "*/*", **parameters: Any
    ) -> str:
        response = service.get(
            f"/v1/jobs/{job}/{table}",
            params={"target_loss": ATTAINED} | parameters,
            headers={"Accept": accept},
        )
        assert response.status_code == 200, response.text
        return str(response.headers["etag"])

    token = service.get(
        f"/v1/jobs/{job_id}/frontier", params={"target_loss": ATTAINED, "page_size": 2}
    ).json()["next_page_token"]
    tags = [
        tag(),
        tag(job=finished_job(record, document())),
        tag(table="batch-sizes"),
        tag(table="token-ratio"),
        tag(accept=CSV),
        tag(target_loss=2.1),
        tag(optimizer="muon"),
        tag(page_size=2),
        tag(page_size=2, page_token=token),
    ]
    assert len(set(tags)) == len(tags)
    assert tag() == tags[0] == tag(target_loss="2.00")
    record.put_result(job_id, {}, final=True)
    assert tag() not in tags, "the job has changed"
    app.version, version = "other", app.version
    assert tag() not in tags
    app.version = version


def test_a_changed_job_is_analysed_again(service: TestClient, record: CoordinatorStore) -> None:
    job_id = finished_job(record, document())
    path, parameters = (
        f"/v1/jobs/{job_id}/batch-sizes",
        {"target_loss": ATTAINED, "page_size": 1000},
    )
    before = service.get(path, params=parameters)
    with record._write() as connection:
        connection.execute(
            text("UPDATE trials SET state = 'STOPPED' WHERE seed = 0 AND measure = 'loss'")
        )
    same = service.get(path, params=parameters)
    assert same.json() == before.json(), "nothing tells that anything changed"
    record.put_result(job_id, {}, final=True)
    after = service.get(path, params=parameters, headers={"If-None-Match": before.headers["etag"]})
    assert after.status_code == 200
    assert {row["reached"] for row in before.json()["items"]} == {3}
    assert {row["reached"] for row in after.json()["items"]} == {2}


def test_a_page_token_of_an_answer_that_has_changed_is_refused(
    service: TestClient, record: CoordinatorStore, job_id: str
) -> None:
    path, parameters = f"/v1/jobs/{job_id}/frontier", {"target_loss": ATTAINED, "page_size": 2}
    token = service.get(path, params=parameters).json()["next_page_token"]
    refused = problem(
        service.get(path, params=parameters | {"page_token": token, "target_loss": 2.1}), 422
    )
    assert [error["field"] for error in refused["errors"]] == ["page_token"]
    record.put_result(job_id, {}, final=True)
    problem(service.get(path, params=parameters | {"page_token": token}), 422)


# Refusals


@pytest.mark.parametrize(
    ("parameters", "field", "message"),
    [
        ({}, "target_loss", "required"),
        ({"target_loss": "low"}, "target_loss", "number"),
        ({"target_loss": 0}, "target_loss", "greater than 0"),
        ({"target_loss": -1}, "target_loss", "greater than 0"),
        ({"target_loss": "inf"}, "target_loss", "finite"),
        ({"target_loss": "nan"}, "target_loss", "finite"),
        ({"target_loss": 1.5}, "target_loss", "no run reached this loss"),
        ({"target_loss": 2, "optimizer": "sgd"}, "optimizer", "muon"),
        ({"target_loss": 2, "target": 2}, "target", "unknown"),
        ({"target_loss": 2, "page_token": "made-up"}, "page_token", "is not from this list"),
    ],
)
def test_invalid_parameters_are_refused_by_field(
    service: TestClient, job_id: str, parameters: dict[str, Any], field: str, message: str
) -> None:
    refused = problem(service.get(f"/v1/jobs/{job_id}/frontier", params=parameters), 422)
    assert [error["field"] for error in refused["errors"]] == [field]
    assert message in refused["errors"][0]["message"]


def test_a_ratio_of_one_optimizer_is_refused(service: TestClient, job_id: str) -> None:
    refused = problem(
        service.get(
            f"/v1/jobs/{job_id}/token-ratio", params={"target_loss": 2, "optimizer": "muon"}
        ),
        422,
    )
    assert refused["errors"][0]["field"] == "optimizer"


def test_pages_of_csv_are_refused_and_so_are_too_many_rows(
    service: TestClient, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/v1/jobs/{job_id}/frontier"
    refused = problem(
        service.get(path, params={"target_loss": 2, "page_size": 5}, headers={"Accept": CSV}), 422
    )
    assert refused["errors"][0]["field"] == "page_size"
    monkeypatch.setattr("api.http.routes.frontier.MOST_CSV_ROWS", 10)
    refused = problem(service.get(path, params={"target_loss": 2}, headers={"Accept": CSV}), 422)
    assert "CSV may have at most 10" in refused["detail"]


def test_an_unknown_media_type_is_refused_before_the_database_is_queried(
    app: FastAPI, service: TestClient, job_id: str
) -> None:
    with counted(app.state.store) as statements:
        refused = service.get(
            f"/v1/jobs/{job_id}/frontier",
            params={"target_loss": 2},
            headers={"Accept": "text/html"},
        )
    assert problem(refused, 406)["code"] == "not_acceptable"
    assert statements == []


@pytest.mark.parametrize("table", TABLES)
def test_jobs_of_other_kinds_have_no_frontier(
    service: TestClient, record: CoordinatorStore, table: str
) -> None:
    job, _ = record.create_job(DOCUMENT)
    refused = problem(service.get(f"/v1/jobs/{job.id}/{table}", params={"target_loss": 2}), 422)
    assert "compute_time" in refused["detail"]
    assert refused["errors"][0]["field"] == "job_id"


def test_an_unknown_job_is_not_found(service: TestClient) -> None:
    problem(service.get("/v1/jobs/job-x/frontier", params={"target_loss": 2}), 404)


def test_a_job_without_finished_runs_is_refused_with_that_reason(
    service: TestClient, record: CoordinatorStore
) -> None:
    job, _ = record.create_job(document())
    refused = problem(service.get(f"/v1/jobs/{job.id}/frontier", params={"target_loss": 2}), 422)
    assert "no run has recorded a loss yet" in refused["detail"]


def test_every_status_and_media_type_is_documented(service: TestClient) -> None:
    paths: Any = service.get("/openapi.json").json()["paths"]
    for table in TABLES:
        responses = paths[f"/v1/jobs/{{job_id}}/{table}"]["get"]["responses"]
        assert set(responses) == {"200", "304", "404", "406", "422", "500", "503"}
        assert set(responses["200"]["content"]) == {"application/json", CSV}
