"""The tables of a grokking job over HTTP: pages, CSV, ETags, interim reports and refusals."""

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import TypeAdapter

import migrations
from api.http.app import create_app
from api.http.representations import CSV
from api.settings import Settings
from api.store.record import CoordinatorStore
from telescope.studies.grokking.report import GrokkingReport
from telescope.studies.grokking.rows import RunRow
from telescope.studies.grokking.tables import CellTableRow, cell_table
from tests.api.grokking_jobs import DOCUMENT, equal, job_with_report, muon_first
from tests.api.http.test_http import problem
from tests.api.trials import DOCUMENT as TELESCOPING

ROWS = {"cells": CellTableRow, "runs": RunRow}


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CoordinatorStore]:
    url = f"sqlite:///{tmp_path_factory.mktemp('store')}/telescope.db"
    migrations.upgrade(url)
    store = CoordinatorStore(url)
    yield store
    store.close()


@pytest.fixture(scope="module")
def service(record: CoordinatorStore) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(database_url=record.url))) as client:
        yield client


@pytest.fixture(scope="module")
def job_id(record: CoordinatorStore) -> str:
    return job_with_report(record, muon_first)


def report_of(service: TestClient, job_id: str) -> GrokkingReport:
    document = service.get(f"/v1/jobs/{job_id}/result").json()
    return TypeAdapter(GrokkingReport).validate_python(document)


def rows_of(report: GrokkingReport, table: str) -> list[dict[str, Any]]:
    rows = cell_table(report.cells) if table == "cells" else report.runs
    return [vars(row) for row in rows]


def table_page(service: TestClient, job_id: str, **parameters: Any) -> Any:
    response = service.get(f"/v1/jobs/{job_id}/grokking", params=parameters)
    assert response.status_code == 200, response.text
    return response.json()


def test_cells_are_the_default_and_have_the_numbers_of_the_report(
    service: TestClient, job_id: str
) -> None:
    report = report_of(service, job_id)
    page = table_page(service, job_id)
    assert (page["table"], page["final"], page["verdict"]) == ("cells", True, report.verdict)
    assert page["items"] == rows_of(report, "cells")
    assert [(row["task"], row["event"]) for row in page["items"]] == [
        ("a + b mod 7", "sustained"),
        ("parity of a 4-bit number", "sustained"),
        ("a + b mod 7", "crossed"),
        ("parity of a 4-bit number", "crossed"),
    ]
    first, cell = page["items"][0], report.cells[0]
    muon, adamw = cell.arms
    assert (first["muon_median_steps"], first["adamw_median_steps"]) == (
        muon.median_steps,
        adamw.median_steps,
    )
    assert [first[f"{ratio.unit}_ratio"] for ratio in cell.ratios] == [
        ratio.ratio for ratio in cell.ratios
    ]
    assert (first["muon_generalised"], first["adamw_generalised"]) == (8, 7)


@pytest.mark.parametrize("table", ROWS)
@pytest.mark.parametrize("page_size", [1, 3, 1000])
def test_pages_of_any_size_have_all_rows_once(
    service: TestClient, job_id: str, table: str, page_size: int
) -> None:
    rows, token = list[Any](), ""
    while token is not None:
        further = {"page_token": token} if token else {}
        page = table_page(service, job_id, table=table, page_size=page_size, **further)
        assert page["table"] == table
        rows, token = rows + page["items"], page["next_page_token"]
    assert rows == rows_of(report_of(service, job_id), table)


@pytest.mark.parametrize("table", ROWS)
def test_csv_has_the_fields_and_values_of_json(
    service: TestClient, job_id: str, table: str
) -> None:
    path = f"/v1/jobs/{job_id}/grokking"
    response = service.get(path, params={"table": table}, headers={"Accept": CSV})
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(response.text, newline="")))
    items = table_page(service, job_id, table=table, page_size=1000)["items"]
    assert rows == [{name: cell(value) for name, value in item.items()} for item in items]
    assert len(rows) > 3


def cell(value: Any) -> str:
    """A value in CSV."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def test_an_unchanged_table_is_not_sent_again(
    service: TestClient, record: CoordinatorStore, job_id: str
) -> None:
    path = f"/v1/jobs/{job_id}/grokking"
    other_id = job_with_report(record, equal, data=DOCUMENT["data"][0])

    def tag(path: str = path, accept: str = "application/json", **parameters: Any) -> str:
        response = service.get(path, params=parameters, headers={"Accept": accept})
        assert response.headers["vary"] == "Accept"
        return response.headers["etag"]

    tags = [
        tag(),
        tag(table="runs"),
        tag(accept=CSV),
        tag(page_size=2),
        tag(path.replace(job_id, other_id)),
    ]
    assert len(set(tags)) == len(tags)
    same = service.get(path, headers={"If-None-Match": tags[0]})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tags[0])
    other = f"/v1/jobs/{other_id}"
    record.put_result(other_id, service.get(f"{other}/result").json(), final=True)
    assert tag(f"{other}/grokking") != tags[-1], "the job has changed"


def test_a_job_without_trials_has_pending_cells_and_no_runs(service: TestClient) -> None:
    job_id = service.post("/v1/jobs", json=DOCUMENT).json()["id"]
    cells, runs = (table_page(service, job_id, table=table) for table in ROWS)
    assert (cells["final"], cells["verdict"], runs["items"]) == (False, "unresolved", [])
    assert {row["verdict"] for row in cells["items"]} == {"pending"}


def test_a_single_pair_has_a_ratio_without_an_upper_end(
    service: TestClient, record: CoordinatorStore
) -> None:
    job_id = job_with_report(record, muon_first, seeds=1)
    first = table_page(service, job_id)["items"][0]
    assert first["pairs"] == 1
    assert first["steps_ratio"] > 1
    assert (first["steps_ratio_low"], first["steps_ratio_high"]) == (0.0, None)
    report_of(service, job_id)


def test_an_interim_report_has_the_runs_so_far(
    service: TestClient, record: CoordinatorStore
) -> None:
    job_id = job_with_report(record, muon_first, most=25)
    page = table_page(service, job_id, table="runs", page_size=1000)
    assert (page["final"], page["verdict"], len(page["items"])) == (False, "unresolved", 25)


@pytest.mark.parametrize(
    ("parameters", "field", "message"),
    [
        ({"table": "rows"}, "table", "cells"),
        ({"tabel": "runs"}, "tabel", "did you mean table?"),
        ({"page_token": "made-up"}, "page_token", "is not from this list"),
        ({"page_size": -1}, "page_size", "greater than or equal to 0"),
    ],
)
def test_invalid_parameters_are_refused_by_field(
    service: TestClient, job_id: str, parameters: dict[str, Any], field: str, message: str
) -> None:
    refused = problem(service.get(f"/v1/jobs/{job_id}/grokking", params=parameters), 422)
    assert [error["field"] for error in refused["errors"]] == [field]
    assert message in refused["errors"][0]["message"]


def test_a_page_token_of_the_other_table_and_pages_of_csv_are_refused(
    service: TestClient, job_id: str
) -> None:
    path = f"/v1/jobs/{job_id}/grokking"
    token = table_page(service, job_id, page_size=1)["next_page_token"]
    parameters = {"table": "runs", "page_token": token}
    assert problem(service.get(path, params=parameters), 422)["errors"][0]["field"] == "page_token"
    pages_of_csv = service.get(path, params={"page_size": 2}, headers={"Accept": CSV})
    assert problem(pages_of_csv, 422)["errors"][0]["field"] == "page_size"


def test_other_jobs_and_media_are_refused(service: TestClient, record: CoordinatorStore) -> None:
    job, _ = record.create_job(TELESCOPING)
    refused = problem(service.get(f"/v1/jobs/{job.id}/grokking"), 422)
    assert refused["errors"][0]["field"] == "job_id"
    assert "name a job of kind grokking" in refused["detail"]
    assert f"/v1/jobs/{job.id}/result" in refused["detail"]
    problem(service.get("/v1/jobs/job-x/grokking"), 404)
    html = service.get(f"/v1/jobs/{job.id}/grokking", headers={"Accept": "text/html"})
    assert problem(html, 406)["code"] == "not_acceptable"


def test_trials_have_the_stage_and_the_cell_that_planned_them(
    service: TestClient, job_id: str
) -> None:
    items = service.get(f"/v1/jobs/{job_id}/trials", params={"page_size": 1000}).json()["items"]
    assert {(item["stage"], item["variant"]) for item in items} == {
        (stage, task)
        for stage in ("tuning", "runs")
        for task in ("a + b mod 7", "parity of a 4-bit number")
    }


def test_every_status_and_both_pages_are_documented(service: TestClient) -> None:
    document: Any = service.get("/openapi.json").json()
    responses = document["paths"]["/v1/jobs/{job_id}/grokking"]["get"]["responses"]
    assert set(responses) == {"200", "304", "404", "406", "422", "500", "503"}
    content = responses["200"]["content"]
    assert set(content) == {"application/json", CSV}
    names = [
        item["$ref"].rpartition("/")[2] for item in content["application/json"]["schema"]["anyOf"]
    ]
    assert names == ["GrokkingCellsPage", "GrokkingRunsPage"]
    assert {"GrokkingQuestion", "GrokkingReport", "GrokkingPreview", *names} <= set(
        document["components"]["schemas"]
    )


def test_the_preview_has_the_cost_of_each_optimizer_in_each_cell(service: TestClient) -> None:
    forecast = service.post("/v1/jobs:preview", json=DOCUMENT)
    assert forecast.status_code == 200, forecast.text
    assert len(forecast.json()["arms"]) == 4
    assert forecast.json()["trials"]["least"] == 2 * 2 * (5 + 8)
