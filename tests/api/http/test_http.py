"""The HTTP interface over a real database: submission, refusals, reading, corpora, health."""

import copy
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from rich.console import Console

import migrations
from api.http.app import create_app
from api.http.openapi import EXAMPLE
from api.job_states import JobState
from api.settings import Settings
from api.store.engines import CoordinatorLock
from api.store.record import CoordinatorStore
from api.store.rows import Begun
from api.store.store import Store
from api.terminal import pictures, telescoping
from telescope.client.resources import TrialSummary
from telescope.data import corpora
from telescope.errors import Unavailable
from telescope.studies import registry
from telescope.studies.kind import EndCause, Ended
from telescope.trials.outcome import Measurement, completed
from telescope.trials.spec import TrialSpec

Json = Any


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder among the data roots, with a text of some 80,000 characters."""
    folder = tmp_path_factory.mktemp("open")
    for name in range(20):
        (folder / "novel").mkdir(exist_ok=True)
        (folder / "novel" / f"{name}.txt").write_text(
            f"Chapter {name}. It was a dark and stormy night. " * 90
        )
    (folder / "short.txt").write_text("too short")
    (folder / "empty.txt").write_text("")
    return folder


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, texts: Path) -> FastAPI:
    """The app with one data root; it is created once, since its OpenAPI document is slow."""
    url = f"sqlite:///{tmp_path_factory.mktemp('app')}/telescope.db"
    migrations.upgrade(url)
    return create_app(Settings(database_url=url, data_roots=(texts,)))


@pytest.fixture
def service(app: FastAPI, database_url: str, texts: Path) -> Iterator[TestClient]:
    """The app over a migrated database of this test."""
    app.state.store = Store(database_url)
    app.state.settings = Settings(database_url=database_url, data_roots=(texts,))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client
    app.state.store.close()


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory, texts: Path) -> Iterator[TestClient]:
    """An app for all refusals, on one database that must stay empty."""
    url = f"sqlite:///{tmp_path_factory.mktemp('refusing')}/telescope.db"
    migrations.upgrade(url)
    with TestClient(create_app(Settings(database_url=url, data_roots=(texts,)))) as client:
        yield client
        assert client.get("/v1/jobs").json()["items"] == []


@pytest.fixture
def job(texts: Path) -> Json:
    """A small job on the text of the data root."""
    return {
        "kind": "telescope",
        "name": "small",
        "model": {"base_width": 32, "calibration_width": 64, "target_width": 128, "head_dim": 16},
        "data": {"corpus": str(texts / "novel"), "context": 32},
        "horizon": {"steps": 20, "batch_tokens": 64},
        "search": {"lr": {"low": 0.004, "high": 0.25, "points": 4}},
        "schedule": "paper",
        "coordinates": "skip",
    }


def changed(document: Json, path: str, value: Json) -> Json:
    """A copy with one field set to a value; the value `...` removes the field."""
    result = copy.deepcopy(document)
    *parents, last = path.split(".")
    inner = result
    for parent in parents:
        inner = inner.setdefault(parent, {})
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return result


def problem(response: Any, status: int) -> Json:
    """Check that a response is a problem of this status; return its body."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == status
    assert body["type"].startswith("urn:telescope:problem:")
    assert body["detail"]
    return body


def bowl(spec: TrialSpec) -> float:
    """A loss with its optimum at lr 1/32 on every width."""
    return 2.0 + 0.05 * (math.log2(spec.optimizer.lr) + 5) ** 2 + 1 / spec.model.width


def point(step: int, **metrics: float) -> Measurement:
    return Measurement(step, 64 * step, 1e6 * step, 0.01 * step, metrics)


def train(
    record: CoordinatorStore, job_id: str, stages: int, loss: Callable[[TrialSpec], float] = bowl
) -> None:
    """Do the work of a coordinator for some stages, with losses from a formula."""
    study = registry.parse(record.study_document(job_id))
    if record.job(job_id).state is JobState.QUEUED:
        record.begin_job(job_id)
    for _ in range(stages):
        record.plan_trials(job_id, study.plan(record.terminal_trials(job_id)).trials)
        for pending in record.pending_trials(job_id, 1000):
            trial_id, attempt, spec = pending.trial_id, pending.attempt, pending.spec
            *steps, last_step = range(1, spec.horizon.steps + 1)
            points = [point(step, train_loss=loss(spec) + 1 / step) for step in steps]
            last = point(last_step, train_loss=2.5, loss=loss(spec))
            assert record.trial_started(trial_id, attempt, Begun(0, "worker-1", "cpu"))
            assert record.trial_measured(trial_id, attempt, points)
            assert record.trial_finished(trial_id, completed(spec, [last]), [last])
    report = registry.report_document(study.report(record.terminal_trials(job_id)))
    if report["final"]:
        record.finish_job(job_id, JobState.SUCCEEDED, None, report)
    else:
        record.put_result(job_id, report, final=False)


# Submitting


def test_a_submitted_job_is_accepted_and_read_with_every_default(
    service: TestClient, job: Json
) -> None:
    response = service.post("/v1/jobs", json=job)
    accepted = response.json()
    assert response.status_code == 202, response.text
    assert response.headers["location"] == f"/v1/jobs/{accepted['id']}"
    assert int(response.headers["retry-after"]) > 0
    assert accepted["state"] == "QUEUED"
    assert accepted["study"]["data"]["vocab_size"] == 256
    assert accepted["study"]["data"]["content"]
    assert accepted["study"]["horizon"]["decay"] == "linear"
    assert service.get(response.headers["location"]).json() == accepted


def test_the_study_of_a_job_can_be_submitted_again(service: TestClient, job: Json) -> None:
    study = service.post("/v1/jobs", json=job).json()["study"]
    repeated = service.post("/v1/jobs", json=study)
    assert repeated.status_code == 202, repeated.text
    assert repeated.json()["study"] == study


def test_a_job_may_be_submitted_as_yaml(service: TestClient, job: Json) -> None:
    text = json.dumps(job).replace("0.004", "4e-3")  # JSON is YAML
    response = service.post(
        "/v1/jobs", content=text, headers={"Content-Type": "application/yaml; charset=utf-8"}
    )
    assert response.status_code == 202, response.text
    assert response.json()["study"]["search"]["lr"]["low"] == 0.004


def test_a_repeated_idempotency_key_returns_the_first_job(service: TestClient, job: Json) -> None:
    first = service.post("/v1/jobs", json=job, headers={"Idempotency-Key": "a"})
    repeated = service.post(
        "/v1/jobs", json=dict(reversed(job.items())), headers={"Idempotency-Key": "a"}
    )
    assert repeated.status_code == 202
    assert repeated.json() == first.json()
    assert len(service.get("/v1/jobs").json()["items"]) == 1


def test_a_repeated_idempotency_key_needs_no_corpus(
    service: TestClient, job: Json, texts: Path
) -> None:
    file = texts / "passing.txt"
    file.write_text("all that is solid melts into air\n" * 500)
    document = changed(job, "data.corpus", str(file))
    first = service.post("/v1/jobs", json=document, headers={"Idempotency-Key": "a"})
    file.unlink()
    repeated = service.post("/v1/jobs", json=document, headers={"Idempotency-Key": "a"})
    assert repeated.json() == first.json()
    assert service.post("/v1/jobs", json=document).status_code == 422


def test_a_repeated_idempotency_key_with_another_body_is_refused(
    service: TestClient, job: Json
) -> None:
    service.post("/v1/jobs", json=job, headers={"Idempotency-Key": "a"})
    refused = problem(
        service.post("/v1/jobs", json=job | {"name": "b"}, headers={"Idempotency-Key": "a"}), 422
    )
    assert refused["code"] == "idempotency_key_reused"
    assert len(service.get("/v1/jobs").json()["items"]) == 1


def test_a_preview_creates_no_job(service: TestClient, job: Json) -> None:
    response = service.post("/v1/jobs:preview", json=job)
    assert response.status_code == 200, response.text
    assert response.json()
    assert service.get("/v1/jobs").json() == {"items": [], "next_page_token": None}


def test_a_job_over_several_texts_is_previewed_run_and_printed_side_by_side(
    service: TestClient, record: CoordinatorStore, job: Json, texts: Path, tmp_path: Path
) -> None:
    """The optimal learning rate for the reports is four times the one for the novel."""
    (texts / "reports.txt").write_text("Third quarter: revenue rose by 4 %, costs fell. " * 1500)
    prose, reports = {"name": "novel"}, {"name": "reports", "corpus": str(texts / "reports.txt")}
    job |= {"sweep_over": {"data": [prose, reports]}}
    single = service.post("/v1/jobs:preview", json=changed(job, "sweep_over", ...)).json()
    preview = service.post("/v1/jobs:preview", json=job).json()
    assert preview["trials"]["least"] == 2 * single["trials"]["least"]
    assert [(entry["variant"], entry["optimizer"]) for entry in preview["ladders"]] == [
        ("novel", "muon"),
        ("reports", "muon"),
    ]

    accepted = service.post("/v1/jobs", json=job).json()
    entries = accepted["study"]["sweep_over"]["data"]
    assert [entry["name"] for entry in entries] == ["novel", "reports"]
    assert len({entry["content"] for entry in entries}) == 2
    text = {entry["content"]: entry["name"] for entry in entries}
    url = f"/v1/jobs/{accepted['id']}"
    before = service.get(f"{url}/result").json()
    assert (before["final"], before["verdict"], before["comparison"]["over"]) == (
        False,
        "unresolved",
        "data",
    )
    train(
        record,
        accepted["id"],
        9,
        lambda spec: bowl(replace_lr(spec, 4.0 if text[spec.data.content] == "reports" else 1.0)),
    )
    report = service.get(f"{url}/result").json()
    assert (report["final"], report["best"]) == (True, None)
    assert [(entry["name"], entry["best"]) for entry in report["variants"]] == [
        ("novel", "muon"),
        ("reports", "muon"),
    ]
    trials = service.get(f"{url}/trials", params={"page_size": 1000}).json()["items"]
    assert {trial["variant"] for trial in trials} == {"novel", "reports"}
    detail = service.get(f"/v1/trials/{trials[0]['id']}").json()
    assert text[detail["spec"]["data"]["content"]] == detail["variant"] == trials[0]["variant"]
    levels = service.get(f"{url}/levels").json()["items"]
    assert {(level["variant"], level["optimizer"]) for level in levels} == {
        ("novel", "muon"),
        ("reports", "muon"),
    }

    output = StringIO()
    telescoping.show(telescoping.parse_report(report), 128, Console(file=output, width=200))
    for words in (
        "Side by side",
        "novel",
        "reports",
        "losses of different texts are not comparable",
        "Muon, reports ─",
    ):
        assert words in output.getvalue()
    parsed, runs = telescoping.parse_report(report), [api_trial(trial) for trial in trials]
    for ladder in parsed.ladders:
        ladder_rates = sorted(run.lr for run in runs if run.variant == ladder.variant)
        assert 0 < len(ladder_rates) < len(runs)
        plotted = pictures.plotted_ladder(ladder, runs, 128)
        assert sorted(run.lr for run in plotted.runs) == ladder_rates
    pictures.plot_report(parsed, runs, 128, tmp_path / "a.png", "texts")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def replace_lr(spec: TrialSpec, factor: float) -> TrialSpec:
    """A spec whose learning rate is divided by a factor."""
    return replace(spec, optimizer=replace(spec.optimizer, lr=spec.optimizer.lr / factor))


def api_trial(document: Json) -> TrialSummary:
    """A trial as the client parses it."""
    return TypeAdapter(TrialSummary).validate_python(document)


def test_an_equal_closed_or_unknown_text_of_a_sweep_is_refused_by_field(
    refusing: TestClient, job: Json, texts: Path
) -> None:
    equal = [{"name": "a"}, {"name": "b", "corpus": str(texts / "." / "novel") + "/"}]
    refused = problem(refusing.post("/v1/jobs", json=job | {"sweep_over": {"data": equal}}), 422)
    assert [(error["field"], error["message"]) for error in refused["errors"]] == [
        ("sweep_over.data.1", "b is the same as a; change a field of b, or leave b out")
    ]
    closed = job | {"sweep_over": {"data": [{"name": "a"}, {"name": "b", "corpus": "/etc/passwd"}]}}
    refused = problem(refusing.post("/v1/jobs", json=closed), 422)
    assert [error["field"] for error in refused["errors"]] == ["sweep_over.data.1.corpus"]
    unknown = job | {
        "sweep_over": {
            "data": [{"name": "a", "corpus": "python-stdlob"}, {"name": "b", "tokenizer": "byts"}]
        }
    }
    refused = problem(refusing.post("/v1/jobs", json=unknown), 422)
    assert [error["field"] for error in refused["errors"]] == [
        "sweep_over.data.0.corpus",
        "sweep_over.data.1.tokenizer",
    ]


def test_a_clone_may_add_texts_to_compare_but_only_from_data_roots(
    service: TestClient, job: Json, texts: Path
) -> None:
    first = service.post("/v1/jobs", json=job).json()
    (texts / "more.txt").write_text("more of another text\n" * 4000)
    url = f"/v1/jobs/{first['id']}:clone"
    over = {"data": [{"name": "a"}, {"name": "b", "corpus": str(texts / "more.txt")}]}
    second = service.post(url, json={"sweep_over": over})
    assert second.status_code == 202, second.text
    contents = [entry["content"] for entry in second.json()["study"]["sweep_over"]["data"]]
    assert contents[0] == first["study"]["data"]["content"] != contents[1]
    third = service.post(f"/v1/jobs/{second.json()['id']}:clone", json={"data": {"context": 16}})
    assert third.status_code == 202, third.text
    closed = {"sweep_over": {"data": [{"name": "a"}, {"name": "b", "corpus": "/etc/passwd"}]}}
    refused = problem(service.post(url, json=closed), 422)
    assert refused["errors"][0]["field"] == "sweep_over.data.1.corpus"


BATCHES = {
    "kind": "compute_time",
    "model": {"width": 32},
    "batch_tokens": [256, 512],
    "runs": {"tokens": 20_480},
    "tuning": {"lr": {"low": 0.01, "high": 0.04, "points": 3}},
}


def test_a_compute_time_job_is_previewed_and_accepted(service: TestClient, job: Json) -> None:
    document = BATCHES | {"data": job["data"]}
    bill = service.post("/v1/jobs:preview", json=document).json()
    assert [(row["optimizer"], row["batch_tokens"]) for row in bill["batches"]] == [
        ("muon", 256), ("muon", 512), ("adamw", 256), ("adamw", 512),
    ]  # fmt: skip
    searched, seeds, timed = 3, 2, 1  # trials per optimizer and batch
    assert bill["trials"]["least"] == 4 * (searched + seeds + timed)
    accepted = service.post("/v1/jobs", json=document)
    assert (accepted.status_code, accepted.json()["kind"]) == (202, "compute_time")
    report = service.get(f"/v1/jobs/{accepted.json()['id']}/result").json()
    assert (report["final"], report["reason"]) == (False, "runs are still pending")


def test_the_example_of_the_documentation_is_accepted(service: TestClient) -> None:
    assert service.post("/v1/jobs", json=EXAMPLE).status_code == 202


# Refusing

BAD = {
    "a wrong type": ("horizon.steps", "many", "horizon.steps", "integer"),
    "an unknown key": ("search.lr.hihg", 0.1, "search.lr.hihg", "high"),
    "an unknown kind": ("kind", "telescop", "kind", "telescope"),
    "a missing field": ("search", ..., "search", ""),
    "low above high": (
        "search.lr",
        {"low": 0.5, "high": 0.1, "points": 4},
        "search.lr.low",
        "swap",
    ),
    "zero points": ("search.lr.points", 0, "search.lr.points", "1"),
    "a base width that head_dim does not divide": (
        "model.base_width",
        40,
        "model.base_width",
        "32",
    ),
    "a calibration width that is no doubling": (
        "model.calibration_width",
        96,
        "model.calibration_width",
        "128",
    ),
    "a target below the calibration width": ("model.target_width", 32, "model.target_width", "64"),
    "a batch smaller than the context": ("horizon.batch_tokens", 16, "horizon.batch_tokens", "32"),
    "a base grid over max_trials": ("limits", {"max_trials": 3}, "limits.max_trials", "4"),
    "an unknown corpus": ("data.corpus", "python-stdlob", "data.corpus", "python-stdlib"),
    "a path outside the open folders": (
        "data.corpus",
        "/etc/passwd",
        "data.corpus",
        "TELESCOPE_DATA_ROOTS",
    ),
    "a path that climbs out": (
        "data.corpus",
        "{texts}/../secret",
        "data.corpus",
        "TELESCOPE_DATA_ROOTS",
    ),
    "a missing file": ("data.corpus", "{texts}/missing.txt", "data.corpus", "does not exist"),
    "an empty file": ("data.corpus", "{texts}/empty.txt", "data.corpus", "text"),
    "too short a text": ("data.corpus", "{texts}/short.txt", "data.corpus", "too short"),
    "a tokenizer outside": (
        "data.tokenizer",
        "/etc/tokenizer.json",
        "data.tokenizer",
        "TELESCOPE_DATA_ROOTS",
    ),
    "an unknown tokenizer": ("data.tokenizer", "byts", "data.tokenizer", "bytes"),
    "too large an integer": ("horizon.steps", 10**400, "horizon.steps", "2^53"),
    "an infinite bound": ("search.lr.high", math.inf, "search.lr.high", "finite"),
    "text that no database stores": ("name", "a\0b", "name", "U+0000"),
    "half of a surrogate pair": ("name", "\ud83d", "name", "surrogate"),
    "a list in place of text": ("data", {"corpus": []}, "data.corpus", "string"),
    "a mixture of one": ("data.corpus", {"python-docs": 1}, "data.corpus", "two parts or more"),
    "an unknown corpus in a mixture": (
        "data",
        {"corpus": {"python-docs": 1, "python-stdlob": 1}},
        "data.corpus",
        "python-stdlib",
    ),
    "a closed path in a mixture": (
        "data",
        {"corpus": {"python-docs": 1, "/etc/passwd": 1}},
        "data.corpus",
        "TELESCOPE_DATA_ROOTS",
    ),
}


@pytest.mark.parametrize("verb", ["jobs", "jobs:preview"])
@pytest.mark.parametrize("case", BAD)
def test_invalid_input_is_refused_with_field_value_and_remedy(
    refusing: TestClient, job: Json, texts: Path, case: str, verb: str
) -> None:
    path, value, field, remedy = BAD[case]
    if isinstance(value, str):
        value = value.format(texts=texts)
    response = refusing.post(
        f"/v1/{verb}",
        content=json.dumps(changed(job, path, value)),
        headers={"Content-Type": "application/json"},
    )
    refused = problem(response, 422)
    assert refused["code"] == "invalid_input"
    errors = {error["field"]: error for error in refused["errors"]}
    assert field in errors, refused
    assert errors[field]["pointer"] == "".join(f"/{part}" for part in field.split(".") if part)
    assert remedy in errors[field]["message"], refused
    if field == path and value is not ...:
        # "?" stands for a character that UTF-8 cannot encode
        assert errors[field]["value"] in (value, str(value)[:300], "?")


def test_a_link_out_of_the_data_root_is_refused(
    refusing: TestClient, job: Json, texts: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret.txt").write_text("secret " * 9999)
    (texts / "link.txt").symlink_to(tmp_path / "secret.txt")
    refused = problem(
        refusing.post("/v1/jobs", json=changed(job, "data.corpus", str(texts / "link.txt"))), 422
    )
    assert refused["errors"][0]["field"] == "data.corpus"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{", "application/json"),
        (b"", "application/json"),
        (b"\xff\xfe", "application/json"),
        (b"[" * 100_000, "application/json"),
        (b'{"name": "\\u0000"}', "application/json"),
        (b'{"name": "\\ud800"}', "application/json"),
        (b"null", "application/json"),
        (b"[1, 2]", "application/json"),
        (b"a: [", "application/yaml"),
        (b"[" * 16_000, "application/yaml"),
        (b"a: &a [x]\nb: *a", "application/yaml"),
        (b"a: 2020-01-01", "application/yaml"),
        (b"a: !!python/object:os.system x", "application/yaml"),
        (b"a: " + b"b" * 20_000, "application/yaml"),
        (b'a: "\\UFFFFFFFF"', "application/yaml"),
        (b"- ? - ? - a", "application/yaml"),
    ],
)
def test_a_body_that_is_no_document_is_refused_with_a_message(
    refusing: TestClient, body: bytes, kind: str
) -> None:
    refused = problem(refusing.post("/v1/jobs", content=body, headers={"Content-Type": kind}), 422)
    assert refused["errors"][0]["message"]


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("", "kind: telescope\n1: 2\n"),
        ("model", "kind: telescope\nmodel: {depth: 2, 1: 2}\n"),
        ("", "kind: telescope\n2020-01-01: 1\n"),
    ],
)
@pytest.mark.parametrize(
    "headers", [{}, {"Idempotency-Key": "a"}], ids=["unrepeated", "repeatable"]
)
@pytest.mark.parametrize("verb", ["/v1/jobs", "/v1/jobs:preview"])
def test_a_yaml_key_that_is_no_text_is_refused_by_the_field_of_its_mapping(
    refusing: TestClient, verb: str, headers: dict[str, str], place: str, text: str
) -> None:
    refused = problem(
        refusing.post(verb, content=text, headers={"Content-Type": "application/yaml"} | headers),
        422,
    )
    assert [(error["field"], error["message"]) for error in refused["errors"]] == [
        (place, "keys must be text; put this key in quotes")
    ]


@pytest.mark.parametrize(
    "headers", [{}, {"Idempotency-Key": "a"}], ids=["unrepeated", "repeatable"]
)
def test_a_patch_with_a_key_that_is_no_text_is_refused(
    service: TestClient, job: Json, headers: dict[str, str]
) -> None:
    url = service.post("/v1/jobs", json=job).headers["location"]
    text = "name: again\nlimits: {max_trials: 500, 1: 2}\n"
    refused = problem(
        service.post(
            f"{url}:clone", content=text, headers={"Content-Type": "application/yaml"} | headers
        ),
        422,
    )
    assert [(error["field"], error["value"]) for error in refused["errors"]] == [("limits", "1")]
    assert len(service.get("/v1/jobs").json()["items"]) == 1


SCALARS = [
    "a",
    "1",
    "-2.5",
    "~",
    "true",
    ".inf",
    ".nan",
    "1e999",
    "2020-01-01",
    "2020-13-45",
    "'b'",
    '"\\UFFFFFFFF"',
]
SIGNS = [
    "- ",
    "? ",
    ": ",
    *"{}[]#%",
    ", ",
    "\n",
    "\n  ",
    "<<: ",
    "|\n",
    "&a",
    "*a",
    "!!set",
    "---\n",
    "kind: telescope\n",
]


@given(st.lists(st.sampled_from(SCALARS + SIGNS), max_size=16).map("".join))
@example("&a{&a")  # an anchor used twice
def test_arbitrary_yaml_is_refused_and_is_no_server_error(refusing: TestClient, text: str) -> None:
    headers = {"Content-Type": "application/yaml", "Idempotency-Key": "a"}
    assert refusing.post("/v1/jobs", content=text, headers=headers).status_code == 422


def test_too_large_a_body_is_refused_before_it_is_read(refusing: TestClient) -> None:
    problem(refusing.post("/v1/jobs", content=b"[" + b" " * (1 << 20) + b"]"), 413)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/jobs/job-none", 404),
        ("GET", "/v1/jobs/job-none/result", 404),
        ("GET", "/v1/jobs/job-none/levels", 404),
        ("GET", "/v1/jobs/job-none/trials", 404),
        ("GET", "/v1/jobs/job-none/curves", 404),
        ("POST", "/v1/jobs/job-none:cancel", 404),
        ("POST", "/v1/jobs/job-none:retry", 404),
        ("POST", "/v1/jobs/job-none:clone", 404),
        ("GET", "/v1/jobs/%00", 422),
        ("GET", "/v1/trials/1000000", 404),
        ("GET", "/v1/trials/1000000/curve", 404),
        ("GET", "/v1/trials/99999999999999999999", 422),
        ("GET", "/v1/trials/first", 422),
        ("POST", "/v1/jobs/job-none:explode", 405),
        ("GET", "/v1/nothing", 404),
        ("DELETE", "/v1/jobs", 405),
    ],
)
def test_unknown_resources_and_methods_are_problems(
    refusing: TestClient, method: str, path: str, status: int
) -> None:
    problem(refusing.request(method, path), status)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("page_size=-1", "page_size"),
        ("page_size=few", "page_size"),
        ("page_token=forged", "page_token"),
        ("page_token=NQ", "page_token"),
        ("state=lost", "state"),
    ],
)
def test_an_invalid_parameter_is_named_with_its_value(
    refusing: TestClient, query: str, field: str
) -> None:
    refused = problem(refusing.get(f"/v1/jobs?{query}"), 422)
    assert refused["errors"][0]["field"] == field
    assert refused["errors"][0]["value"] == query.partition("=")[2]


def test_an_unexpected_error_is_a_500_without_internals_and_is_logged(
    service: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret internals")

    monkeypatch.setattr(service.app.state.store, "jobs", broken)  # type: ignore[attr-defined]
    refused = service.get("/v1/jobs")
    assert "secret" not in json.dumps(problem(refused, 500))
    assert "secret internals" in caplog.text


# Reading


def test_a_result_exists_before_during_and_after_the_search(
    service: TestClient, record: CoordinatorStore, job: Json
) -> None:
    job_id = service.post("/v1/jobs", json=job).json()["id"]
    url = f"/v1/jobs/{job_id}/result"
    before = service.get(url)
    assert before.status_code == 200
    assert before.json()["final"] is False
    assert service.get(f"/v1/jobs/{job_id}/levels").json() == {"final": False, "items": []}

    train(record, job_id, stages=1)
    during = service.get(url).json()
    assert during["final"] is False
    levels = service.get(f"/v1/jobs/{job_id}/levels").json()
    assert [(level["optimizer"], level["width"]) for level in levels["items"]] == [("muon", 32)]

    train(record, job_id, stages=1)
    after = service.get(url).json()
    assert after["final"] is True
    assert after["verdict"]
    assert len(service.get(f"/v1/jobs/{job_id}/levels").json()["items"]) == 2
    finished = service.get(f"/v1/jobs/{job_id}").json()
    assert finished["state"] == "SUCCEEDED"
    assert finished["trials_done"] == finished["trials_total"] > 0


@pytest.mark.parametrize("resource", ["", "/result"])
def test_a_request_with_the_current_etag_is_304_until_the_job_changes(
    service: TestClient, record: CoordinatorStore, job: Json, resource: str
) -> None:
    job_id = service.post("/v1/jobs", json=job).json()["id"]
    first = service.get(f"/v1/jobs/{job_id}{resource}")
    headers = {"If-None-Match": f'"other", W/{first.headers["etag"]}'}
    unchanged = service.get(f"/v1/jobs/{job_id}{resource}", headers=headers)
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert unchanged.headers["etag"] == first.headers["etag"]
    train(record, job_id, stages=1)
    assert service.get(f"/v1/jobs/{job_id}{resource}", headers=headers).status_code == 200


def test_trials_are_paged_without_repetition_and_filtered(
    service: TestClient, record: CoordinatorStore, job: Json
) -> None:
    job_id = service.post("/v1/jobs", json=job).json()["id"]
    train(record, job_id, stages=2)
    url = f"/v1/jobs/{job_id}/trials"
    everything = service.get(url, params={"page_size": 10**9}).json()
    assert everything["next_page_token"] is None
    paged: list[Json] = []
    token = None
    while True:
        page = service.get(
            url, params={"page_size": 2} | ({"page_token": token} if token else {})
        ).json()
        assert len(page["items"]) <= 2
        paged += page["items"]
        if not (token := page["next_page_token"]):
            break
    assert paged == everything["items"]
    filters = {"width": 64, "optimizer": "muon", "state": "COMPLETED"}
    wide = service.get(url, params=filters).json()["items"]
    assert wide == [trial for trial in everything["items"] if trial["width"] == 64] != []
    assert service.get(url, params={"state": "FAILED"}).json()["items"] == []


def test_a_page_token_of_another_list_is_refused(
    service: TestClient, record: CoordinatorStore, job: Json
) -> None:
    job_id = service.post("/v1/jobs", json=job).json()["id"]
    train(record, job_id, stages=1)
    url = f"/v1/jobs/{job_id}/trials"
    token = service.get(url, params={"page_size": 1}).json()["next_page_token"]
    filtered = service.get(url, params={"page_token": token, "state": "COMPLETED"})
    assert problem(filtered, 422)["errors"][0]["field"] == "page_token"


def test_a_diverged_trial_is_a_result_with_no_loss(
    service: TestClient, record: CoordinatorStore, job: Json
) -> None:
    job_id = service.post("/v1/jobs", json=job).json()["id"]
    train(
        record,
        job_id,
        stages=1,
        loss=lambda spec: math.inf if spec.optimizer.lr > 0.1 else bowl(spec),
    )
    trials = service.get(f"/v1/jobs/{job_id}/trials").json()["items"]
    diverged = [trial for trial in trials if trial["lr"] > 0.1]
    assert diverged
    assert all(
        trial["loss"] is None and trial["diverged"] and trial["state"] == "COMPLETED"
        for trial in diverged
    )
    assert all(trial["failure_kind"] == "scientific" for trial in diverged)
    assert not any(trial["diverged"] for trial in trials if trial["lr"] <= 0.1)
    assert service.get(f"/v1/jobs/{job_id}/result").status_code == 200


def test_a_curve_is_read_complete_or_thinned(
    service: TestClient, record: CoordinatorStore, job: Json
) -> None:
    job_id = service.post("/v1/jobs", json=job).json()["id"]
    train(record, job_id, stages=1)
    trial = service.get(f"/v1/jobs/{job_id}/trials").json()["items"][0]
    detail = service.get(f"/v1/trials/{trial['id']}").json()
    assert detail | trial == detail
    assert detail["spec"]["optimizer"]["lr"] == trial["lr"]
    curve = service.get(f"/v1/trials/{trial['id']}/curve").json()
    assert curve["step"] == list(range(1, 21))
    assert curve["metrics"]["loss"][:-1] == [None] * 19
    thinned = service.get(f"/v1/trials/{trial['id']}/curve", params={"points": 8}).json()
    assert thinned["step"][0] == 1
    assert thinned["step"][-1] == 20
    assert 2 <= len(thinned["step"]) <= 9
    curves = service.get(f"/v1/jobs/{job_id}/curves", params={"points": 8}).json()["items"]
    assert len(curves) == len(service.get(f"/v1/jobs/{job_id}/trials").json()["items"])
    assert curves[0] == thinned


def test_verbs_change_the_state_and_a_terminal_job_refuses_them(
    service: TestClient, job: Json
) -> None:
    url = service.post("/v1/jobs", json=job).headers["location"]
    assert service.post(f"{url}:pause").json()["state"] == "PAUSED"
    assert service.post(f"{url}:pause").json()["state"] == "PAUSED"
    assert service.post(f"{url}:resume").json()["state"] == "QUEUED"
    assert service.post(f"{url}:cancel").json()["state"] == "CANCELLED"
    assert service.post(f"{url}:cancel").json()["state"] == "CANCELLED"
    refused = problem(service.post(f"{url}:resume"), 409)
    assert "CANCELLED" in refused["detail"]


def test_a_clone_is_a_new_job_with_the_patched_study(service: TestClient, job: Json) -> None:
    first = service.post("/v1/jobs", json=job).json()
    url = f"/v1/jobs/{first['id']}:clone"
    copied = service.post(url)
    assert copied.status_code == 202, copied.text
    assert (
        copied.headers["location"] == f"/v1/jobs/{copied.json()['id']}" != f"/v1/jobs/{first['id']}"
    )
    assert (copied.json()["state"], copied.json()["study"]) == ("QUEUED", first["study"])
    patched = service.post(url, json={"name": "more", "limits": {"max_trials": 500}}).json()
    limits = first["study"]["limits"] | {"max_trials": 500}
    assert patched["study"] == first["study"] | {"name": "more", "limits": limits}
    assert patched["name"] == "more"
    in_yaml = service.post(
        url, content="reuse: false", headers={"Content-Type": "application/yaml"}
    )
    assert in_yaml.json()["study"] == first["study"] | {"reuse": False}


def test_a_clone_with_another_corpus_reads_it_but_only_from_data_roots(
    service: TestClient, job: Json, texts: Path
) -> None:
    first = service.post("/v1/jobs", json=job).json()
    (texts / "other.txt").write_text("another text altogether\n" * 2000)
    cloned = service.post(
        f"/v1/jobs/{first['id']}:clone", json={"data": {"corpus": str(texts / "other.txt")}}
    )
    assert cloned.status_code == 202, cloned.text
    assert cloned.json()["study"]["data"]["content"] not in ("", first["study"]["data"]["content"])
    refused = problem(
        service.post(f"/v1/jobs/{first['id']}:clone", json={"data": {"corpus": "/etc/passwd"}}), 422
    )
    assert refused["errors"][0]["field"] == "data.corpus"


def test_a_job_on_a_mixture_is_accepted_and_cloned_with_another_weight(
    service: TestClient, job: Json, texts: Path
) -> None:
    prose = texts / "prose.txt"
    prose.write_text("it was the best of times, it was the worst of times\n" * 2000)
    parts = {str(texts / "novel"): 7, str(prose): 3}
    first = service.post("/v1/jobs", json=changed(job, "data.corpus", parts))
    assert first.status_code == 202, first.text
    data = first.json()["study"]["data"]
    assert (data["corpus"], data["vocab_size"]) == (parts, 256)
    url = f"/v1/jobs/{first.json()['id']}:clone"
    cloned = service.post(url, json={"data": {"corpus": {str(prose): 7}}}).json()["study"]["data"]
    assert cloned["corpus"] == parts | {str(prose): 7}
    assert cloned["content"] not in ("", data["content"])
    refused = problem(service.post(url, json={"data": {"corpus": {"/etc/passwd": 1}}}), 422)
    assert [(error["field"], error["value"]) for error in refused["errors"]] == [
        ("data.corpus", "/etc/passwd")
    ]


def test_a_local_job_outside_the_data_roots_is_cloned_unless_the_patch_names_data(
    service: TestClient, record: CoordinatorStore, job: Json, tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("a text that the operator did not open\n" * 2000)
    study = registry.resolved(
        registry.parse(changed(job, "data.corpus", str(tmp_path / "mine.txt")))
    )
    first, _ = record.create_job(registry.to_document(study))
    url = f"/v1/jobs/{first.id}:clone"
    for patch in ({}, {"name": "again"}):
        cloned = service.post(url, json=patch)
        assert cloned.status_code == 202, cloned.text
        assert cloned.json()["study"]["data"]["corpus"] == str(tmp_path / "mine.txt")
    for patch in ({"data": {}}, {"data": {"context": 16}}, {"data": {"corpus": str(tmp_path)}}):
        refused = problem(service.post(url, json=patch), 422)
        assert [error["field"] for error in refused["errors"]] == ["data.corpus"]


@pytest.mark.parametrize(
    ("patch", "field"),
    [
        ({"search": {"lr": {"hihg": 1}}}, "search.lr.hihg"),
        ({"search": None}, "search"),
        ({"horizon": {"steps": 0}}, "horizon.steps"),
        ({"limits": 4}, "limits"),
        ([], ""),
    ],
)
def test_an_invalid_patch_is_refused_by_field_and_creates_no_job(
    service: TestClient, job: Json, patch: Json, field: str
) -> None:
    job_id = service.post("/v1/jobs", json=job).json()["id"]
    refused = problem(service.post(f"/v1/jobs/{job_id}:clone", json=patch), 422)
    assert [error["field"] for error in refused["errors"]] == [field]
    assert len(service.get("/v1/jobs").json()["items"]) == 1


def test_one_idempotency_key_creates_one_clone_of_one_job(service: TestClient, job: Json) -> None:
    first, second = (service.post("/v1/jobs", json=job).json()["id"] for _ in range(2))
    key = {"Idempotency-Key": "a"}
    clone = service.post(f"/v1/jobs/{first}:clone", json={"name": "b"}, headers=key)
    assert (
        service.post(f"/v1/jobs/{first}:clone", json={"name": "b"}, headers=key).json()
        == clone.json()
    )
    for job_id, patch in ((first, {"name": "c"}), (second, {"name": "b"})):
        refused = problem(service.post(f"/v1/jobs/{job_id}:clone", json=patch, headers=key), 422)
        assert refused["code"] == "idempotency_key_reused"
    assert len(service.get("/v1/jobs").json()["items"]) == 3


def test_a_retry_queues_a_failed_job_and_is_refused_for_running_and_succeeded_jobs(
    service: TestClient, record: CoordinatorStore, job: Json
) -> None:
    job_id = service.post("/v1/jobs", json=job).json()["id"]
    url = f"/v1/jobs/{job_id}"
    assert service.post(f"{url}:retry").json()["state"] == "QUEUED", (
        "it has not begun; nothing changes"
    )
    record.begin_job(job_id)
    assert "not ended" in problem(service.post(f"{url}:retry"), 409)["detail"]
    report = registry.report_document(
        registry.parse(job).report((), Ended(EndCause.FAILED, "because"))
    )
    record.finish_job(job_id, JobState.FAILED, "because", report)
    assert service.get(f"{url}/result").json()["final"] is True
    retried = service.post(f"{url}:retry").json()
    assert (retried["state"], retried["reason"], retried["ended_at"]) == ("QUEUED", None, None)
    assert service.get(f"{url}/result").json()["final"] is False
    record.begin_job(job_id)
    record.finish_job(job_id, JobState.SUCCEEDED, None, report)
    assert "clone" in problem(service.post(f"{url}:retry"), 409)["detail"]


def test_a_retried_job_has_its_old_report_until_it_runs_again(
    service: TestClient, record: CoordinatorStore, job: Json
) -> None:
    job_id = service.post("/v1/jobs", json=job).json()["id"]
    url = f"/v1/jobs/{job_id}"
    train(record, job_id, stages=1)
    study = registry.parse(record.study_document(job_id))
    report = registry.report_document(
        study.report(record.terminal_trials(job_id), Ended(EndCause.FAILED, "because"))
    )
    record.finish_job(job_id, JobState.FAILED, "because", report)
    assert service.get(f"{url}/result").json() == {"kind": "telescope"} | report
    assert service.post(f"{url}:retry").json()["trials_done"] > 0
    assert service.get(f"{url}/result").json() == {"kind": "telescope"} | report | {"final": False}
    levels = service.get(f"{url}/levels").json()
    assert (levels["final"], [level["width"] for level in levels["items"]]) == (False, [32])


def test_a_reused_trial_has_its_origin_and_its_curve(
    service: TestClient, record: CoordinatorStore, job: Json
) -> None:
    first, second = (service.post("/v1/jobs", json=job).json()["id"] for _ in range(2))
    train(record, first, stages=1)
    record.begin_job(second)
    record.plan_trials(second, registry.parse(record.study_document(second)).plan(()).trials)
    assert record.reuse_trials(second, "cpu") > 0
    old, new = (
        service.get(f"/v1/jobs/{job_id}/trials").json()["items"][0] for job_id in (first, second)
    )
    assert (old["reused_from"], new["reused_from"], new["numerics"]) == (None, old["id"], "cpu")
    assert (new["loss"], new["flops"], new["flops_spent"]) == (old["loss"], old["flops"], 0)
    curves = [service.get(f"/v1/trials/{trial['id']}/curve").json() for trial in (old, new)]
    assert curves[1] == curves[0] | {"trial_id": new["id"]}


def test_jobs_are_listed_newest_first_in_pages(service: TestClient, job: Json) -> None:
    ids = [
        service.post("/v1/jobs", json=job | {"name": name}).json()["id"] for name in ("a", "b", "c")
    ]
    page = service.get("/v1/jobs", params={"page_size": 2}).json()
    assert [item["id"] for item in page["items"]] == ids[:0:-1]
    last_page = service.get(
        "/v1/jobs", params={"page_size": 2, "page_token": page["next_page_token"]}
    ).json()
    assert [item["id"] for item in last_page["items"]] == ids[:1]
    assert last_page["next_page_token"] is None
    service.post(f"/v1/jobs/{ids[1]}:cancel")
    assert [
        item["id"]
        for item in service.get("/v1/jobs", params={"state": "CANCELLED"}).json()["items"]
    ] == [ids[1]]


# Corpora


def test_a_corpus_in_a_data_root_is_registered_and_used_by_name(
    service: TestClient, job: Json, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELESCOPE_HOME", str(tmp_path))
    new = {"name": "novel", "path": str(texts / "novel")}
    response = service.post("/v1/corpora", json=new)
    assert response.status_code == 201, response.text
    assert response.json() == new | {"built_in": False}
    assert service.post("/v1/corpora", json=new).status_code == 201
    names = [item["name"] for item in service.get("/v1/corpora").json()["items"]]
    assert names == [*corpora.BUILT_IN, "novel"]
    assert service.post("/v1/jobs", json=changed(job, "data.corpus", "novel")).status_code == 202
    problem(service.post("/v1/corpora", json=new | {"path": str(texts / "short.txt")}), 409)


@pytest.mark.parametrize(
    ("new", "field"),
    [
        ({"name": "secret", "path": "/etc"}, "path"),
        ({"name": "gone", "path": "{texts}/gone"}, "path"),
        ({"name": "Novel!", "path": "{texts}/novel"}, "name"),
        ({"name": "python-stdlib", "path": "{texts}/novel"}, "name"),
        ({"name": "novel"}, "path"),
        ({"name": "novel", "path": "{texts}/novel", "mode": 7}, "mode"),
    ],
)
def test_an_invalid_corpus_is_refused_by_field(
    refusing: TestClient, texts: Path, new: Json, field: str
) -> None:
    body = {
        key: value.format(texts=texts) if isinstance(value, str) else value
        for key, value in new.items()
    }
    refused = problem(refusing.post("/v1/corpora", json=body), 422)
    assert [error["field"] for error in refused["errors"]] == [field]
    assert [error["pointer"] for error in refused["errors"]] == [f"/{field}"]


# Health


def test_the_service_is_ready_if_and_only_if_a_coordinator_runs(
    service: TestClient, database_url: str
) -> None:
    refused = problem(service.get("/readyz"), 503)
    assert [error["field"] for error in refused["errors"]] == ["coordinator"]
    lock = CoordinatorLock(database_url)
    assert lock.acquire()
    try:
        assert service.get("/readyz").json()["parts"] == {
            "api": "ok",
            "database": "ok",
            "coordinator": "ok",
        }
    finally:
        lock.release()
    assert service.get("/readyz").status_code == 503


def test_an_app_does_not_start_on_a_database_without_migrations(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="telescope migrate"):
        create_app(Settings(database_url=f"sqlite:///{tmp_path}/empty.db"))


def test_a_lost_database_is_a_503_and_the_process_stays_alive(tmp_path: Path) -> None:
    file = tmp_path / "gone" / "telescope.db"
    file.parent.mkdir()
    migrations.upgrade(f"sqlite:///{file}")
    with TestClient(
        create_app(Settings(database_url=f"sqlite:///{file}")), raise_server_exceptions=False
    ) as service:
        service.app.state.store.close()  # type: ignore[attr-defined]
        file.parent.rename(tmp_path / "elsewhere")
        refused = problem(service.get("/readyz"), 503)
        assert [error["field"] for error in refused["errors"]] == ["database"]
        response = service.get("/v1/jobs")
        assert problem(response, 503)["code"] == "unavailable"
        assert int(response.headers["retry-after"]) > 0
        assert service.get("/livez").status_code == 200
