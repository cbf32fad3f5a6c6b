"""`telescope frontier` and the client's methods, on a job with curves of known laws."""

import csv
import io
import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

import migrations
from api.cli.main import app
from api.http.app import create_app
from api.settings import Settings
from api.store.record import CoordinatorStore
from api.terminal import frontier
from surfaces.batch_jobs import ATTAINED, document, finished_job
from telescope.client import pages
from telescope.client.client import Client
from telescope.errors import InvalidInput, NotFound
from telescope.statistics.frontier import AtDevices, Dominance
from telescope.statistics.token_ratio import Standing
from telescope.studies import registry
from telescope.studies.compute_time.analysis import Analysis
from tests.telescope.client.test_client import address, serving

TABLES = ("frontier", "batch-sizes", "token-ratio")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, Analysis]]:
    """A service's URL, the id of its one job, and the tables computed from the job's runs."""
    from api.jobs.analyses import analysed

    url = f"sqlite:///{tmp_path_factory.mktemp('service')}/telescope.db"
    migrations.upgrade(url)
    record = CoordinatorStore(url)
    job_id = finished_job(record, document())
    analysis = analysed(job_id, record)
    record.close()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        with serving(create_app(Settings(database_url=url)), listener):
            yield address(listener), job_id, analysis


def telescope(url: str, *words: object) -> Any:
    return CliRunner().invoke(app, ["frontier", *map(str, words), "--url", url])


def answers(analysis: Analysis, target_loss: float = ATTAINED) -> frontier.TargetLossTables:
    return frontier.TargetLossTables(
        analysis.frontier(target_loss),
        analysis.batch_sizes(target_loss),
        analysis.token_ratio(target_loss),
    )


def printed(tables: frontier.TargetLossTables) -> str:
    console = Console(file=io.StringIO(), width=140, highlight=False)
    frontier.show_tables(tables, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in text.splitlines())


# The client


@pytest.mark.parametrize("page_size", [2, 1000])
def test_the_client_has_the_answers_of_the_analysis_for_any_page_size(
    served: tuple[str, str, Analysis], monkeypatch: pytest.MonkeyPatch, page_size: int
) -> None:
    url, job_id, analysis = served
    monkeypatch.setattr(pages, "PAGE_SIZE", page_size)
    with Client(url) as client:
        assert client.frontier(job_id, ATTAINED) == analysis.frontier(ATTAINED)
        assert client.batch_sizes(job_id, 2.1, optimizer="muon") == analysis.batch_sizes(
            2.1, "muon"
        )
        assert client.token_ratio(job_id, 2.1) == analysis.token_ratio(2.1)


def test_the_client_raises_the_errors_of_the_server(served: tuple[str, str, Analysis]) -> None:
    url, job_id, _ = served
    with Client(url) as client:
        with pytest.raises(InvalidInput, match="no run reached this loss"):
            client.frontier(job_id, 1.0)
        with pytest.raises(NotFound):
            client.csv("job-x", "frontier", 2.0)


# The command


def test_all_three_tables_and_their_conclusions_are_printed(
    served: tuple[str, str, Analysis],
) -> None:
    url, job_id, analysis = served
    result = telescope(url, job_id, "--target-loss", ATTAINED)
    assert result.exit_code == 0, result.stderr
    output = result.stdout
    for title in (
        "Hours against devices",
        "Tokens against batch size",
        "AdamW's tokens divided by Muon's",
    ):
        assert title in output
    assert analysis.read in output
    assert " measured" in output
    assert " modelled" in output
    assert "Muon is ahead everywhere" in output
    assert "Critical batch by the piecewise law" in output
    assert "Critical batch by the smooth form" in output
    assert "token-optimal batch" in output
    assert "From a batch of" in output


def test_one_document_has_all_three_answers(served: tuple[str, str, Analysis]) -> None:
    url, job_id, analysis = served
    result = telescope(url, job_id, "--target-loss", ATTAINED, "--optimizer", "muon", "--json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["frontier"] == registry.report_document(analysis.frontier(ATTAINED, "muon"))
    assert document["batch_sizes"] == registry.report_document(
        analysis.batch_sizes(ATTAINED, "muon")
    )
    assert document["token_ratio"] == registry.report_document(analysis.token_ratio(ATTAINED))


@pytest.mark.parametrize("table", TABLES)
def test_csv_has_all_rows_of_the_table(served: tuple[str, str, Analysis], table: str) -> None:
    url, job_id, analysis = served
    result = telescope(url, job_id, "--target-loss", ATTAINED, "--csv", table)
    assert result.exit_code == 0
    header, *rows = csv.reader(io.StringIO(result.stdout, newline=""))
    assert "batch_tokens" in header
    assert len(rows) == len(getattr(analysis, table.replace("-", "_"))(ATTAINED).rows)


def test_the_picture_is_written_beside_csv_too(
    served: tuple[str, str, Analysis], tmp_path: Path
) -> None:
    url, job_id, _ = served
    for words in ((), ("--csv", "frontier")):
        path = tmp_path / f"{len(words)}.png"
        assert (
            telescope(url, job_id, "--target-loss", ATTAINED, "--plot", path, *words).exit_code == 0
        )
        assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (("--target-loss", 1.0), "target_loss"),
        (("--target-loss", 2, "--csv", "frontier", "--json"), "--csv"),
        (("--target-loss", -2), "target_loss"),
        ((), "--target-loss"),
    ],
)
def test_bad_input_ends_with_status_2_and_names_the_field(
    served: tuple[str, str, Analysis], words: tuple[object, ...], field: str
) -> None:
    url, job_id, _ = served
    result = telescope(url, job_id, *words)
    assert result.exit_code == 2
    assert field in (
        json.loads(result.stdout)["error"]["problems"][0]["field"]
        if "--json" in words
        else result.stderr
    )


# Printed tables


def test_rows_behind_the_frontier_are_counted_and_bounds_are_called_bounds(
    served: tuple[str, str, Analysis],
) -> None:
    _, _, analysis = served
    tables = answers(analysis)
    behind = sum(not row.on_frontier for row in tables.frontier.rows)
    assert f"The table leaves out {behind} rows not on the frontier. `--csv frontier`" in printed(
        tables
    )
    censored = tuple(
        replace(row, censored=True, on_frontier=False, hours_high=None)
        for row in tables.frontier.rows
    )
    output = printed(
        replace(tables, frontier=replace(tables.frontier, rows=censored, dominance=None))
    )
    bounds = "the hours are only a bound, because a run never reached the loss"
    assert f"In {len(censored)} of them, {bounds}" in output
    assert "No comparison" in output
    early = tuple(replace(row, early=True, on_frontier=False) for row in tables.frontier.rows)
    assert f"In {len(early)} of them, the hours are only a bound" in printed(
        replace(tables, frontier=replace(tables.frontier, rows=early))
    )


def test_bounds_and_unfinished_runs_are_printed(served: tuple[str, str, Analysis]) -> None:
    _, _, analysis = served
    tables = answers(analysis)
    first, second, third, *others = tables.batch_sizes.rows
    rows = (
        replace(first, reached=1, censored=2, tokens_low=0.0, tokens_high=None),
        replace(second, reached=2, early=1, tokens_low=None),
        replace(
            third, reached=0, diverged=3, tokens=None, tokens_low=None, tokens_high=None, steps=None
        ),
        *others,
    )
    lines = printed(
        replace(tables, batch_sizes=replace(tables.batch_sizes, rows=rows))
    ).splitlines()
    batch_lines = [line for line in lines if line.startswith("Muon ") and " 0.02 " in line]
    assert "over " in batch_lines[0]
    assert "1, 2 censored" in batch_lines[0]
    assert "under " in batch_lines[1]
    assert "2, 1 early" in batch_lines[1]
    assert "0, 3 diverged" in batch_lines[2]


@pytest.mark.parametrize(
    ("first_ahead", "second_ahead", "expected"),
    [
        (0.0, 2.0, "Muon is ahead everywhere"),
        (2.0, 0.0, "AdamW is ahead everywhere"),
        (1.0, 2.0, "the frontiers cross: Muon leads over an area of 2, AdamW over 1 (doublings"),
        (0.0, 0.0, "neither optimizer is ahead anywhere"),
    ],
)
def test_the_optimizer_ahead_is_named(
    first_ahead: float, second_ahead: float, expected: str
) -> None:
    rows = (AtDevices(1, 4.0, 2.0), AtDevices(8, 1.0, 0.5))
    words = frontier.dominance_words(Dominance(rows, first_ahead, second_ahead))
    assert expected in words
    assert "over 1 to 8 devices" in words


def test_frontiers_with_one_common_device_count_are_compared() -> None:
    words = frontier.dominance_words(Dominance((AtDevices(4, 3.0, 2.0),), 0.0, 0.0))
    assert words == (
        "AdamW needs 1.5 times Muon's hours on 4 devices, "
        "the only device count that both frontiers share."
    )


def test_a_missing_ratio_has_a_reason_and_a_bound_has_no_pairs(
    served: tuple[str, str, Analysis],
) -> None:
    _, _, analysis = served
    tables = answers(analysis)
    no_ratio = replace(
        tables.token_ratio,
        rows=(),
        trend=None,
        note="a ratio needs runs of both optimizers; there are only runs of muon",
    )
    assert "A ratio needs runs of both optimizers; there are only runs of muon." in printed(
        replace(tables, token_ratio=no_ratio)
    )
    bound = replace(
        tables.token_ratio.rows[0],
        pairs=0,
        ratio_low=0.0,
        ratio_high=None,
        gap_low=None,
        gap_high=None,
        muon=Standing.UNRESOLVED,
    )
    output = printed(
        replace(tables, token_ratio=replace(tables.token_ratio, rows=(bound,), trend=None))
    )
    assert "bound  unresolved" in output
    assert "No trend" in output
