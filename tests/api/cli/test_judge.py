"""`telescope judge` and POST /v1/judgements: equal verdicts, and refusals."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi.testclient import TestClient
from typer.testing import CliRunner

import migrations
from api.cli.main import app
from api.http.app import create_app
from api.http.openapi import SWEEP
from api.settings import Settings
from telescope.client.client import Client
from telescope.errors import InvalidInput
from telescope.studies import registry

EXAMPLE = Path(__file__).parents[3] / "api" / "examples" / "sweep.csv"
CSV = {"Content-Type": "text/csv"}


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Any:
    url = f"sqlite:///{tmp_path_factory.mktemp('service')}/telescope.db"
    migrations.upgrade(url)
    return create_app(Settings(database_url=url))


@pytest.fixture(scope="module")
def service(application: Any) -> Iterator[TestClient]:
    with TestClient(application) as client:
        yield client


def rows() -> list[dict[str, float]]:
    header, *lines = EXAMPLE.read_text().split()
    return [
        dict(zip(header.split(","), map(float, line.split(",")), strict=True)) for line in lines
    ]


def judge(*words: object) -> Any:
    return CliRunner().invoke(app, ["judge", *map(str, words)])


def one_width(folder: Path) -> Path:
    """The rows of width 32 of the example."""
    lines = EXAMPLE.read_text().splitlines()
    file = folder / "one.csv"
    file.write_text("\n".join(line for line in lines if line.startswith(("width", "32,"))))
    return file


def test_a_good_sweep_has_sentences_tables_and_a_picture(tmp_path: Path) -> None:
    picture = tmp_path / "sweep.png"
    result = judge(EXAMPLE, "--target-width", 1024, "--plot", picture)
    assert result.exit_code == 0, result.output
    assert "Train width 1024 with lr 0.0" in result.stdout
    assert "resolved: lr at the target is known to" in result.stdout
    assert "128       resolved  the optimum is known to" in result.stdout
    assert "The optimal learning rate drifts by -0." in result.stdout
    assert "Copying width 32's optimum to width 256 would cost 0." in result.stdout
    assert "measured between runs: 0.00 %" in result.stdout
    assert "The loss at the optimum falls as 1.03 / width^0.1" in result.stdout
    assert "Note" not in result.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_default_target_is_twice_the_widest_width_and_a_note_says_so() -> None:
    assert "Note: judged for width 512, twice the widest" in judge(EXAMPLE).stdout


@pytest.mark.parametrize(
    "rows",
    [["64,0.0312,", "64,0.0625,", "64,0.125,", "128,0.0312,nan", "128,0.0625,nan"], ["64,0.0312,"]],
)
def test_a_sweep_whose_runs_all_diverged_gives_no_hyperparameters(
    tmp_path: Path, rows: list[str]
) -> None:
    file, picture = tmp_path / "lost.csv", tmp_path / "lost.png"
    file.write_text("\n".join(["width,lr,loss", *rows]))
    result = judge(file, "--plot", picture)
    assert result.exit_code == 1, result.output
    assert (
        "No hyperparameters: every run diverged; add lr below 0.0312.\n"
        "unbracketed: every run diverged"
    ) in result.stdout
    assert "best guess" not in result.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_single_run_is_a_guess_without_an_interval(tmp_path: Path) -> None:
    file = tmp_path / "one.csv"
    file.write_text("width,lr,loss\n64,0.0312,2\n")
    assert "the best guess is to train width 128 with lr 0.0312.\n" in judge(file).stdout


def test_a_law_that_does_not_fit_the_losses_is_not_stated(tmp_path: Path) -> None:
    file, floors = tmp_path / "flat.csv", {32: 2.0, 64: 1.9, 128: 2.06, 256: 1.96}
    runs = [
        f"{width},{2.0**x},{floor + 0.01 * (x + 5) ** 2}"
        for width, floor in floors.items()
        for x in range(-9, -1)
    ]
    file.write_text("\n".join(["width,lr,loss", *runs]))
    output = judge(file).stdout
    assert (
        "The loss at the optimum follows no power law of width (the best fit has R^2 0." in output
    )
    assert "Loss at the optimum falls" not in output


def test_the_optimum_of_another_axis_is_in_the_table_with_its_range_if_not_bracketed(
    tmp_path: Path,
) -> None:
    def printed(best: float) -> str:
        file = tmp_path / "two.csv"
        grid = [(w, x, d) for w in (64, 128) for x in range(-8, -2) for d in (-6, -4, -2)]
        runs = [
            f"{w},{2.0**x},{2.0**d},{2 + 0.01 * (x + 5) ** 2 + 0.01 * (d - best) ** 2}"
            for w, x, d in grid
        ]
        file.write_text("\n".join(["width,lr,weight_decay,loss", *runs]))
        return str(judge(file).stdout)

    inside, outside = printed(-4), printed(-1.5)
    assert "best weight decay" in inside.replace("\n", " ") or "best weight" in inside
    assert "tried 0" not in inside
    assert "(tried 0.0156–0.25)" in " ".join(outside.split())


def test_a_negative_verdict_exits_with_1(tmp_path: Path) -> None:
    result = judge(one_width(tmp_path))
    assert result.exit_code == 1
    assert "a single width cannot bound the drift" in result.stdout


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "begin with a line of column names"),
        (
            "width,lr,loss\n64,-1,2\n",
            "line 2, lr: must be a positive number, such as 0.01 or 1e-2 (given: '-1')",
        ),
        ("width,lr\n64,1\n", "loss: no such column"),
    ],
)
def test_invalid_tables_exit_with_2_and_a_reason(
    tmp_path: Path, content: str, problem: str
) -> None:
    file = tmp_path / "bad.csv"
    file.write_text(content)
    result = judge(file)
    assert result.exit_code == 2
    assert problem in result.stderr
    as_json = judge(file, "--json")
    assert as_json.exit_code == 2
    assert json.loads(as_json.stdout)["error"]["code"] == "invalid_input"


def test_a_missing_file_and_a_narrow_target_exit_with_2(tmp_path: Path) -> None:
    result = judge(tmp_path / "none.csv")
    assert (result.exit_code, "cannot read" in result.stderr) == (2, True)
    result = judge(EXAMPLE, "--target-width", 128)
    assert (result.exit_code, "target_width: must be at least 256" in result.stderr) == (2, True)


def test_command_service_and_client_give_equal_answers(
    application: Any, service: TestClient
) -> None:
    command = json.loads(judge(EXAMPLE, "--json", "--target-width", 700).stdout)
    assert command["verdict"] == "resolved"
    as_csv = service.post(
        "/v1/judgements", content=EXAMPLE.read_bytes(), headers=CSV, params={"target_width": 700}
    )
    assert as_csv.status_code == 200
    as_json = service.post("/v1/judgements", json={"rows": rows(), "target_width": 700})
    assert command == as_csv.json() == as_json.json()
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(application, log_level="warning", ws="none", lifespan="off")
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        with Client(f"http://127.0.0.1:{listener.getsockname()[1]}") as client:
            for sweep in (EXAMPLE.read_text(), rows()):
                judgement = client.judge(sweep, target_width=700)
                assert registry.report_document(judgement) == command
            with pytest.raises(InvalidInput, match=r"rows.0.lr: must be a positive number"):
                client.judge([{"width": 64, "lr": 0, "loss": 1}])
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        listener.close()


def test_the_example_of_the_openapi_document_is_judged(service: TestClient) -> None:
    judgement = service.post("/v1/judgements", content=SWEEP, headers=CSV).json()
    assert [level["diverged"] for level in judgement["levels"]] == [0, 1]
    assert judgement["target_width"] == 256


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"content": "width,lr,loss\n64,x,2\n", "headers": CSV}, "line 2, lr"),
        ({"json": {"rows": [{"width": 64, "lr": 0.1, "loss": "high"}]}}, "rows.0.loss"),
        (
            {"json": {"rows": [{"width": 64, "lr": 0.1, "loss": 1}], "target_width": 32}},
            "target_width",
        ),
        (
            {
                "json": {"rows": [{"width": 64, "lr": 0.1, "loss": 1}], "target_width": 128},
                "params": {"target_width": 128},
            },
            "target_width",
        ),
        ({"content": "{"}, ""),
    ],
)
def test_invalid_sweeps_are_refused_by_field(
    service: TestClient, sent: dict[str, Any], field: str
) -> None:
    answer = service.post("/v1/judgements", **sent)
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["errors"][0]["field"] == field


@pytest.mark.parametrize(
    "media", ["text/plain", "application/json", "application/x-www-form-urlencoded", ""]
)
def test_a_table_with_another_content_type_is_refused_with_the_right_one(
    service: TestClient, media: str
) -> None:
    answer = service.post("/v1/judgements", content=SWEEP, headers={"Content-Type": media})
    assert answer.status_code == 422
    message = answer.json()["errors"][0]["message"]
    assert "send JSON, or a CSV table as Content-Type: text/csv" in message
    assert "yaml" not in message


@pytest.mark.parametrize(
    "sent",
    [{"content": SWEEP, "headers": CSV}, {"json": {"rows": [{"width": 64, "lr": 0.1, "loss": 1}]}}],
)
def test_a_misspelt_parameter_is_refused_with_a_suggestion(
    service: TestClient, sent: dict[str, Any]
) -> None:
    answer = service.post("/v1/judgements", **sent, params={"target_widht": 1024})
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert (error["field"], error["value"], error["pointer"]) == ("target_widht", "1024", None)
    assert "did you mean target_width?" in error["message"]


def test_a_body_that_is_too_large_is_refused(service: TestClient) -> None:
    answer = service.post("/v1/judgements", content=b"64,0.1,2.5\n" * 100_000, headers=CSV)
    assert answer.status_code == 413
    assert answer.json()["code"] == "content_too_large"


def test_losses_without_a_minimum_get_an_answer_that_json_can_hold(service: TestClient) -> None:
    """A fit to such losses may have infinite or huge numbers."""
    upside_down = [
        {"width": w, "lr": 2.0**x, "loss": 3 - (x + 5) ** 2 / 100}
        for w in (64, 128)
        for x in range(-9, -1)
    ]
    diverged = [{"width": w, "lr": 2.0**x, "loss": None} for w in (64, 128) for x in range(-9, -1)]
    extreme = [
        {"width": w, "lr": 1e-300 * 2.0**x, "loss": 1e-300 * (2 + (x + 5) ** 2)}
        for w in (1, 2**31 - 1)
        for x in range(-9, -1)
    ]
    for rows in (upside_down, diverged, extreme):
        answer = service.post("/v1/judgements", json={"rows": rows})
        assert answer.status_code == 200, answer.text
        assert answer.json()["verdict"] != "resolved"
