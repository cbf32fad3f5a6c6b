"""`telescope grokking` and the client's methods, on a job whose runs generalise by a formula."""

import csv
import io
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import migrations
from api.cli.main import app
from api.http.app import create_app
from api.settings import Settings
from api.store.record import CoordinatorStore
from telescope.client import pages
from telescope.client.client import Client
from telescope.errors import InvalidInput, NotFound
from telescope.studies.grokking.report import GrokkingReport
from telescope.studies.grokking.tables import cell_table
from tests.api.grokking_jobs import DOCUMENT, at_edge, equal, job_with_report, muon_first
from tests.telescope.client.test_client import address, serving


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """A service's URL, and the ids of its jobs by the name of their law."""
    url = f"sqlite:///{tmp_path_factory.mktemp('service')}/telescope.db"
    migrations.upgrade(url)
    record = CoordinatorStore(url)
    laws = {"faster": muon_first, "equal": equal, "edge": at_edge}
    jobs = {name: job_with_report(record, law) for name, law in laws.items()}
    jobs["running"] = job_with_report(record, muon_first, most=10)
    record.close()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        with serving(create_app(Settings(database_url=url)), listener):
            yield address(listener), jobs


def telescope(url: str, *words: object) -> Any:
    return CliRunner().invoke(app, [*map(str, words), "--url", url])


@pytest.mark.parametrize("page_size", [2, 1000])
def test_the_client_has_the_rows_of_the_report_for_any_page_size(
    served: tuple[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch, page_size: int
) -> None:
    url, jobs = served
    monkeypatch.setattr(pages, "PAGE_SIZE", page_size)
    with Client(url) as client:
        report = client.result(jobs["faster"])
        assert isinstance(report, GrokkingReport)
        assert client.grokking_cells(jobs["faster"]) == cell_table(report.cells)
        assert client.grokking_runs(jobs["faster"]) == report.runs
        assert client.preview(DOCUMENT).trials.least == 52


def test_the_client_raises_the_errors_of_the_server(served: tuple[str, dict[str, str]]) -> None:
    url, _ = served
    with Client(url) as client:
        with pytest.raises(NotFound):
            client.grokking_runs("job-x")
        with pytest.raises(InvalidInput, match="table"):
            client.grokking_csv("job-x", "rows")  # type: ignore[arg-type]


def test_cells_are_printed_for_both_readings_of_the_event(
    served: tuple[str, dict[str, str]],
) -> None:
    url, jobs = served
    result = telescope(url, "grokking", jobs["faster"])
    assert result.exit_code == 0, result.stderr
    for words in ("Sustained generalisation", "First crossing of 95 %", "in FLOPs", "p (Holm)"):
        assert words in result.stdout
    runs = telescope(url, "grokking", jobs["faster"], "--table", "runs").stdout
    assert "memorised" in runs
    assert "tuning" in runs


@pytest.mark.parametrize("table", ["cells", "runs"])
def test_csv_and_json_have_the_rows_of_the_service(
    served: tuple[str, dict[str, str]], table: str
) -> None:
    url, jobs = served
    words = ("grokking", jobs["faster"], "--table", table)
    text = telescope(url, *words, "--csv").stdout_bytes.decode()
    with Client(url) as client:
        assert text == client.grokking_csv(jobs["faster"], table)  # type: ignore[arg-type]
    document = json.loads(telescope(url, *words, "--json").stdout)
    assert document["table"] == table
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    assert header == list(document["items"][0])
    assert len(rows) == len(document["items"])


def test_the_picture_is_written_beside_csv_too(
    served: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    pytest.importorskip("telescope.studies.grokking.plot")
    url, jobs = served
    for words in (("grokking",), ("result",)):
        path = tmp_path / f"{words[0]}.png"
        assert telescope(url, *words, jobs["faster"], "--plot", path).exit_code == 0
        assert path.read_bytes().startswith(b"\x89PNG")


def test_a_run_is_drawn_that_is_named_by_its_id_or_by_its_digest(
    served: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    pytest.importorskip("telescope.studies.grokking.plot")
    url, jobs = served
    with Client(url) as client:
        trial = next(client.trials(jobs["faster"]))
    for name in (trial.id, trial.digest):
        path = tmp_path / f"{name}.png"
        result = telescope(url, "grokking", jobs["faster"], "--run", name, "--plot", path)
        assert result.exit_code == 0, result.stderr
        assert path.read_bytes().startswith(b"\x89PNG")
    refused = telescope(url, "grokking", jobs["equal"], "--run", trial.id, "--plot", path)
    assert refused.exit_code == 2
    assert f"is no run of job {jobs['equal']}" in " ".join(refused.stderr.split())


@pytest.mark.parametrize(
    ("job", "status", "words"),
    [
        ("faster", 0, "Muon generalises faster"),
        ("equal", 0, "not told apart"),
        ("edge", 1, "unbracketed"),
        ("running", 1, "unresolved so far"),
    ],
)
def test_a_result_has_status_0_if_its_verdict_answers_the_question(
    served: tuple[str, dict[str, str]], job: str, status: int, words: str
) -> None:
    url, jobs = served
    result = telescope(url, "result", jobs[job])
    assert result.exit_code == status, result.stderr
    assert words in result.stdout


def test_a_job_of_grokking_is_in_the_list(served: tuple[str, dict[str, str]]) -> None:
    url, jobs = served
    output = telescope(url, "jobs").stdout
    assert jobs["faster"] in output
    assert "10/" in output


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (("job-x", "--csv", "--json"), "--csv"),
        (("job-x", "--run", "1"), "--run"),
        (("job-x", "--table", "rows"), "--table"),
    ],
)
def test_bad_input_ends_with_status_2_and_names_the_field(
    served: tuple[str, dict[str, str]], words: tuple[str, ...], field: str
) -> None:
    result = telescope(served[0], "grokking", *words)
    assert result.exit_code == 2
    assert field in result.stdout + result.stderr


def test_a_forecast_of_the_service_is_printed(
    served: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    path = tmp_path / "job.json"
    path.write_text(json.dumps(DOCUMENT))
    result = telescope(served[0], "preview", path)
    assert result.exit_code == 0, result.stderr
    assert "All cells: 52 to 56 trials" in result.stdout
