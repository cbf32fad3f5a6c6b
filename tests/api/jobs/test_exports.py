"""Exports of a job whose losses follow a bowl.

The tests use `GET /v1/jobs/{id}/export`, the client's method and `telescope export`.
"""

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from typer.testing import CliRunner

import migrations
from api.cli import main
from api.http.app import create_app
from api.job_states import JobState
from api.jobs.exports import is_exportable
from api.settings import Settings
from api.store.record import CoordinatorStore
from api.store.rows import Begun
from surfaces import batch_jobs
from telescope import export
from telescope.client.client import Client
from telescope.errors import InvalidInput, NotExportable, NotFound
from telescope.studies import registry
from telescope.trials.outcome import Measurement, completed
from tests.api.http.test_http import problem
from tests.telescope.client.test_client import address, serving
from tests.telescope.export.answers import answered, bowl, document

FLAGS: dict[str, Any] = {"adamw_lr_ratio": 1.0, "model": {"mlp": "relu2"}}


def started(record: CoordinatorStore, document: dict[str, Any]) -> str:
    """A started job of a study on real text."""
    job, _ = record.create_job(registry.to_document(registry.resolved(registry.parse(document))))
    record.begin_job(job.id)
    return job.id


def finished(record: CoordinatorStore, document: dict[str, Any]) -> str:
    """A succeeded job of a study on real text, with losses from the bowl."""
    job_id = started(record, document)
    study = registry.parse(record.study_document(job_id))
    while not (plan := study.plan(record.terminal_trials(job_id))).done:
        record.plan_trials(job_id, plan.trials)
        for pending in record.pending_trials(job_id, 1000):
            steps = pending.spec.horizon.steps
            last = Measurement(
                steps, 128 * steps, 1e6, 0.1, {"train_loss": 2.0, "loss": bowl(pending.spec)}
            )
            assert record.trial_started(
                pending.trial_id, pending.attempt, Begun(0, "worker-1", "torch on cpu")
            )
            assert record.trial_finished(pending.trial_id, completed(pending.spec, [last]), [last])
    report = registry.report_document(study.report(record.terminal_trials(job_id)))
    record.finish_job(job_id, JobState.SUCCEEDED, None, report)
    return job_id


@dataclass(frozen=True)
class Served:
    """A service, and the ids of its jobs."""

    app: FastAPI
    record: CoordinatorStore
    url: str
    muon: str
    flags: str  # a job that Megatron-LM's flags can express
    begun: str
    other: str  # a job of another kind


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, session_home: Path) -> Iterator[Served]:
    url = f"sqlite:///{tmp_path_factory.mktemp('service')}/telescope.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TELESCOPE_HOME", str(session_home))
        migrations.upgrade(url)
        record = CoordinatorStore(url)
        jobs = (
            finished(record, document()),
            finished(record, document(**FLAGS)),
            started(record, document()),
        )
    app = create_app(Settings(database_url=url))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        with serving(app, listener):
            yield Served(
                app,
                record,
                address(listener),
                *jobs,
                batch_jobs.finished_job(record, batch_jobs.document()),
            )
    record.close()


@pytest.fixture
def service(served: Served) -> TestClient:
    return TestClient(served.app, raise_server_exceptions=False)


def telescope(*words: object) -> Any:
    return CliRunner().invoke(main.app, ["export", *map(str, words)])


def test_only_answers_that_are_not_refused_are_exportable() -> None:
    ladder = {"hyperparameters": {"lr": {}}, "verdict": "unresolved"}
    assert is_exportable("telescope", {"ladders": [ladder]})
    assert not is_exportable("telescope", {"ladders": [ladder | {"verdict": "refused"}]})
    assert not is_exportable("telescope", {"ladders": [ladder | {"hyperparameters": {}}]})
    assert not is_exportable("grokking", {"cells": []})


# HTTP


def test_each_format_is_the_text_of_the_library_with_the_provenance_of_the_job(
    service: TestClient, served: Served
) -> None:
    study, report, source = answered(document())
    for form, media in (("json", "application/json"), ("torch", "text/x-python; charset=utf-8")):
        response = service.get(f"/v1/jobs/{served.muon}/export", params={"to": form})
        assert (response.status_code, response.headers["content-type"]) == (200, media), (
            response.text
        )
        date = served.record.job(served.muon).ended_at
        assert date is not None
        source_job = export.SourceJob(served.muon, "small", date, source.trials)
        request = export.ExportRequest(form)
        assert response.text == export.exported(study, report, source_job, request)


def test_flags_are_plain_text(service: TestClient, served: Served) -> None:
    response = service.get(
        f"/v1/jobs/{served.flags}/export", params={"to": "megatron", "optimizer": "muon"}
    )
    assert (response.status_code, response.headers["content-type"]) == (
        200,
        "text/plain; charset=utf-8",
    ), response.text
    assert "--optimizer muon\n" in response.text


def test_a_rule_that_flags_cannot_express_is_a_conflict_that_names_it(
    service: TestClient, served: Served
) -> None:
    refused = problem(service.get(f"/v1/jobs/{served.muon}/export", params={"to": "megatron"}), 409)
    assert refused["code"] == "not_exportable"
    assert [error["field"] for error in refused["errors"]] == ["model.mlp", "vector.lr"]
    assert "adamw_lr_ratio of 1" in refused["errors"][1]["message"]


def test_a_request_with_the_current_etag_is_304_until_the_job_changes(
    service: TestClient, served: Served
) -> None:
    path = f"/v1/jobs/{served.flags}/export"
    first = service.get(path, params={"to": "json"})
    unchanged = service.get(
        path, params={"to": "json"}, headers={"If-None-Match": first.headers["etag"]}
    )
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    as_torch = service.get(
        path, params={"to": "torch"}, headers={"If-None-Match": first.headers["etag"]}
    )
    assert (as_torch.status_code, as_torch.headers["etag"] == first.headers["etag"]) == (200, False)
    report = served.record.result(served.flags)
    assert report is not None
    served.record.put_result(served.flags, report, final=True)
    changed = service.get(
        path, params={"to": "json"}, headers={"If-None-Match": first.headers["etag"]}
    )
    assert changed.status_code == 200


@pytest.mark.parametrize(
    ("parameters", "field", "message"),
    [
        ({}, "to", "required"),
        ({"to": "jax"}, "to", "torch"),
        ({"to": "json", "optimizer": "sgd"}, "optimizer", "muon"),
        ({"to": "json", "optimizer": "adamw"}, "optimizer", "choose muon"),
        ({"to": "json", "form": "x"}, "form", "unknown"),
    ],
)
def test_invalid_parameters_are_refused_by_field(
    service: TestClient, served: Served, parameters: Any, field: str, message: str
) -> None:
    refused = problem(service.get(f"/v1/jobs/{served.muon}/export", params=parameters), 422)
    assert [error["field"] for error in refused["errors"]] == [field]
    assert message in refused["errors"][0]["message"]


def test_jobs_without_a_finished_level_or_of_another_kind_have_no_export(
    service: TestClient, served: Served
) -> None:
    early = problem(service.get(f"/v1/jobs/{served.begun}/export", params={"to": "json"}), 409)
    assert "has no report yet" in early["detail"]
    other = problem(service.get(f"/v1/jobs/{served.other}/export", params={"to": "json"}), 422)
    assert (other["errors"][0]["field"], "of kind compute_time" in other["detail"]) == (
        "job_id",
        True,
    )
    problem(service.get("/v1/jobs/job-x/export", params={"to": "json"}), 404)


def test_every_status_and_media_type_is_documented(service: TestClient) -> None:
    paths: Any = service.get("/openapi.json").json()["paths"]
    responses = paths["/v1/jobs/{job_id}/export"]["get"]["responses"]
    assert set(responses) == {"200", "304", "404", "409", "422", "500", "503"}
    assert set(responses["200"]["content"]) == {"application/json", "text/x-python", "text/plain"}


# The client


def test_the_client_returns_the_text_and_raises_the_errors_of_the_server(
    service: TestClient, served: Served
) -> None:
    with Client(served.url) as client:
        assert (
            client.export(served.muon, "torch")
            == service.get(f"/v1/jobs/{served.muon}/export", params={"to": "torch"}).text
        )
        with pytest.raises(NotExportable, match=r"model\.mlp") as refused:
            client.export(served.muon, "megatron")
        assert len(refused.value.problems) == 2
        with pytest.raises(InvalidInput, match="choose muon"):
            client.export(served.muon, "json", optimizer="adamw")
        with pytest.raises(NotFound):
            client.export("job-x", "json")


# The command


def test_the_command_prints_the_text_or_writes_it(served: Served, tmp_path: Path) -> None:
    url = ("--url", served.url)
    printed = telescope(served.muon, "--to", "torch", *url)
    assert printed.exit_code == 0, printed.output
    assert printed.stdout.startswith('"""Train with Muon and AdamW at width 64')
    written = telescope(served.muon, "--to", "torch", "-o", tmp_path / "train.py", *url)
    assert (written.exit_code, written.stdout) == (0, f"Wrote {tmp_path / 'train.py'}.\n")
    assert (tmp_path / "train.py").read_text() == printed.stdout
    assert json.loads(telescope(served.muon, "--to", "json", *url).stdout)["optimizer"] == "muon"


def test_with_json_standard_output_is_one_document(served: Served, tmp_path: Path) -> None:
    url = ("--url", served.url, "--json")
    document = json.loads(telescope(served.flags, "--to", "megatron", *url).stdout)
    assert (document["job"], document["to"], document["file"]) == (served.flags, "megatron", None)
    assert "--lr " in document["text"]
    refused = telescope(served.muon, "--to", "megatron", *url)
    assert (refused.exit_code, json.loads(refused.stdout)["error"]["code"]) == (2, "not_exportable")
    nowhere = telescope(served.muon, "--to", "torch", "-o", tmp_path / "no" / "file.py", *url)
    assert (nowhere.exit_code, json.loads(nowhere.stdout)["error"]["problems"][0]["field"]) == (
        2,
        "--output",
    )


def test_without_a_running_service_the_database_of_the_installation_is_read(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELESCOPE_DATABASE_URL", served.record.url)
    monkeypatch.setenv("TELESCOPE_PORT", "1")
    alone = telescope(served.muon, "--to", "torch")
    assert alone.exit_code == 0, alone.output
    assert alone.stdout == telescope(served.muon, "--to", "torch", "--url", served.url).stdout
    away = telescope(served.muon, "--to", "torch", "--url", "http://127.0.0.1:1")
    assert (away.exit_code, "no telescope service answers" in away.stderr) == (3, True)
    assert telescope("job-x", "--to", "torch").exit_code == 2
