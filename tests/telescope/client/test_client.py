"""The client against a real server over a real socket: values, pages, waiting, patience and
errors.
"""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

import migrations
from api.http.app import create_app
from api.job_states import JobState
from api.settings import Settings
from api.store.record import CoordinatorStore
from api.store.rows import Begun
from telescope.client import pages
from telescope.client.client import Client
from telescope.client.resources import Corpus, Job
from telescope.errors import Conflict, InvalidInput, NotFound, TelescopeError, Unavailable
from telescope.studies import registry
from telescope.studies.telescoping.forecast.preview import Preview
from telescope.trials.outcome import Measurement, completed


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("open")
    (folder / "text.txt").write_text(
        "It was a dark and stormy night; the rain fell in torrents. " * 2000
    )
    return folder / "text.txt"


@pytest.fixture
def job(text: Path) -> dict[str, Any]:
    return {
        "kind": "telescope",
        "name": "small",
        "model": {"base_width": 32, "calibration_width": 32, "target_width": 64, "head_dim": 16},
        "data": {"corpus": str(text), "context": 32},
        "horizon": {"steps": 20, "batch_tokens": 64},
        "search": {"lr": {"low": 0.004, "high": 0.25, "points": 4}},
        "schedule": "paper",
    }


@pytest.fixture
def url_of_database(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/telescope.db"
    migrations.upgrade(url)
    return url


@contextmanager
def serving(application: Any, listener: socket.socket) -> Iterator[None]:
    """Serve an app on a bound socket in a thread, until the block ends."""
    server = uvicorn.Server(uvicorn.Config(application, log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        assert not thread.is_alive()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound


def address(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def client(url_of_database: str, text: Path, listener: socket.socket) -> Iterator[Client]:
    app = create_app(Settings(database_url=url_of_database, data_roots=(text.parent,)))
    with serving(app, listener), Client(address(listener)) as client:
        yield client


def answer(url: str, job_id: str) -> None:
    """Act as the coordinator, from the first trial to the final report, with losses from a
    formula."""
    record = CoordinatorStore(url)
    study = registry.parse(record.study_document(job_id))
    record.begin_job(job_id)
    while not (plan := study.plan(record.terminal_trials(job_id))).done:
        record.plan_trials(job_id, plan.trials)
        for pending in record.pending_trials(job_id, 1000):
            last = Measurement(
                20,
                1280,
                1e9,
                0.5,
                {"train_loss": 2.0, "loss": 2 + abs(pending.spec.optimizer.lr - 0.03)},
            )
            record.trial_started(pending.trial_id, pending.attempt, Begun(0, "worker-1", "cpu"))
            record.trial_finished(pending.trial_id, completed(pending.spec, [last]), [last])
    report = registry.report_document(study.report(record.terminal_trials(job_id)))
    record.finish_job(job_id, JobState.SUCCEEDED, None, report)
    record.close()


def test_a_job_is_submitted_watched_to_its_end_and_read(
    client: Client, url_of_database: str, job: dict[str, Any]
) -> None:
    submitted = client.submit(job)
    assert submitted.state == "QUEUED"
    assert submitted.study is not None
    assert submitted.study["name"] == "small"
    assert client.result(submitted.id).final is False

    watching = client.watch(submitted.id, poll_seconds=0.01)
    assert next(watching).state == "QUEUED"
    coordinator = threading.Thread(target=answer, args=(url_of_database, submitted.id))
    coordinator.start()
    states = list(watching)
    coordinator.join()

    assert [each.terminal for each in states] == [False] * (len(states) - 1) + [True]
    assert states[-1].state == "SUCCEEDED"
    versions = [each.version for each in states]
    assert versions == sorted(set(versions))  # no version is yielded twice
    assert client.result(submitted.id).final is True
    assert client.levels(submitted.id)[0]["width"] == 32
    trials = list(client.trials(submitted.id))
    assert len(trials) == states[-1].trials_total
    trial = client.trial(trials[0].id)
    assert trial.spec is not None
    assert trial.spec["optimizer"]["lr"] == trial.lr
    assert trial.started_at is not None
    assert trial.started_at.tzinfo is not None
    assert client.curve(trial.id).step == (20,)
    assert [curve.trial_id for curve in client.curves(submitted.id, points=10)] == [
        each.id for each in trials
    ]


def test_lists_are_followed_over_all_their_pages(
    client: Client, job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PAGE_SIZE", 2)
    ids = [client.submit(job | {"name": f"job {i}"}).id for i in range(5)]
    assert [each.id for each in client.jobs()] == ids[::-1]
    client.cancel(ids[0])
    assert [each.id for each in client.jobs(state="CANCELLED")] == ids[:1]


def test_one_key_makes_one_job(client: Client, job: dict[str, Any]) -> None:
    first = client.submit(job, idempotency_key="once")
    assert client.submit(job, idempotency_key="once") == first
    assert client.submit(job).id != first.id


def test_verbs_are_carried_out_or_refused_as_a_conflict(
    client: Client, job: dict[str, Any]
) -> None:
    job_id = client.submit(job).id
    assert client.pause(job_id).state == "PAUSED"
    assert client.resume(job_id).state == "QUEUED"
    assert client.cancel(job_id).terminal
    assert (client.result(job_id).final, client.result(job_id).reason) == (True, "cancelled")
    with pytest.raises(Conflict, match="CANCELLED"):
        client.pause(job_id)


def test_a_job_is_cloned_with_changes_and_retried_after_its_end(
    client: Client, job: dict[str, Any]
) -> None:
    first = client.submit(job)
    again = client.clone(first.id, {"limits": {"max_trials": 500}})
    assert first.study is not None
    assert again.study == first.study | {"limits": first.study["limits"] | {"max_trials": 500}}
    assert client.clone(first.id, idempotency_key="once") == client.clone(
        first.id, idempotency_key="once"
    )
    assert client.cancel(again.id).terminal
    assert client.retry(again.id).state == "QUEUED"


def test_refusals_arrive_as_they_were_raised(client: Client, job: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as refused:
        client.submit(job | {"horizon": {"steps": 0, "batch_tokens": 64}})
    assert [(problem.field, problem.value) for problem in refused.value.problems] == [
        ("horizon.steps", 0)
    ]
    with pytest.raises(InvalidInput, match="cannot be sent"):
        client.submit(job | {"seeds": float("nan")})
    with pytest.raises(NotFound, match="job-none"):
        client.job("job-none")
    with pytest.raises(TelescopeError):
        client.job("../../etc")
    with pytest.raises(InvalidInput, match="TELESCOPE_DATA_ROOTS"):
        client.register_corpus("etc", "/etc")


def test_a_preview_and_the_corpora_are_read(client: Client, job: dict[str, Any]) -> None:
    assert isinstance(client.preview(job), Preview)
    assert Corpus("python-stdlib", True, None) in client.corpora()
    assert list(client.jobs()) == []


def test_readiness_is_requested_without_patience(client: Client) -> None:
    with pytest.raises(Unavailable, match="coordinator"):
        client.ready()


def test_an_unreachable_server_is_named_with_a_remedy(listener: socket.socket) -> None:
    with (
        Client(address(listener), patience_seconds=0.2) as client,
        pytest.raises(Unavailable, match=rf"{address(listener)}.*telescope serve"),
    ):
        list(client.jobs())


def test_patience_covers_a_server_that_starts_late(
    url_of_database: str, text: Path, listener: socket.socket, job: dict[str, Any]
) -> None:
    app = create_app(Settings(database_url=url_of_database, data_roots=(text.parent,)))
    jobs: list[Job] = []
    with Client(address(listener), patience_seconds=30) as client:
        early = threading.Thread(target=lambda: jobs.append(client.submit(job)))
        early.start()  # the socket is bound, but no server listens yet
        with serving(app, listener):
            early.join(timeout=30)
    assert [each.name for each in jobs] == ["small"]


def test_an_error_page_of_a_proxy_raises_unavailable(listener: socket.socket) -> None:
    async def proxy(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send(
                {
                    "type": "http.response.start",
                    "status": 502,
                    "headers": [(b"content-type", b"text/html")],
                }
            )
            await send({"type": "http.response.body", "body": b"<h1>Bad gateway</h1>"})

    with (
        serving(proxy, listener),
        Client(address(listener), patience_seconds=0.5) as client,
        pytest.raises(Unavailable),
    ):
        list(client.jobs())


@pytest.mark.parametrize(
    "url", ["http://[", "telescope", "http://host:port", "ftp://host", "http://"]
)
def test_a_malformed_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        Client(url)
    assert refused.value.problems[0].field == "url"


def test_loopback_addresses_bypass_proxies(
    monkeypatch: pytest.MonkeyPatch, listener: socket.socket, url_of_database: str
) -> None:
    for variable in ("HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
    port = listener.getsockname()[1]
    with serving(create_app(Settings(database_url=url_of_database)), listener):
        for host in ("127.0.0.1", "localhost"):
            with Client(f"http://{host}:{port}", patience_seconds=1.0) as client:
                assert list(client.jobs()) == []


def test_a_slow_service_is_reported_as_slow_but_may_read_a_corpus_for_any_time(
    listener: socket.socket,
) -> None:
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await asyncio.sleep(0.5)
            await send(
                {
                    "type": "http.response.start",
                    "status": 200,
                    "headers": [(b"content-type", b"application/json")],
                }
            )
            await send({"type": "http.response.body", "body": b'{"trials": 3}'})

    with (
        serving(slow, listener),
        Client(address(listener), timeout_seconds=0.1, patience_seconds=0.0) as client,
    ):
        # a preview has no read timeout: it waited for the response, whose kind is unknown
        with pytest.raises(TelescopeError, match="knows no study of kind None"):
            client.preview({})
        with pytest.raises(
            Unavailable, match=r"accepts connections but did not answer within 0\.1 s"
        ):
            client.job("job-1")
