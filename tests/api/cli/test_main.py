"""Commands work as documented, and report errors with field and remedy."""

import json
import re
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from api.cli import job_file
from api.cli.main import app
from api.http.app import create_app
from api.settings import Settings
from tests.api.serving import environment, eventually, serving

JOB = """
kind: telescope
name: tiny
model: {{base_width: 16, calibration_width: 32, target_width: 64, depth: 1, head_dim: 16}}
data: {{corpus: {corpus}, context: 16}}
horizon: {{steps: {steps}, batch_tokens: 64, evaluation_tokens: 64}}
search: {{lr: {{low: 4e-3, high: 1, points: 5}}}}
schedule: paper
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    for i in range(12):
        text = "".join(
            f"line {n}: {n * n % 97} apples and {n * i % 89} pears\n" for n in range(200)
        )
        (folder / f"{i}.txt").write_text(text)
    return folder


@pytest.fixture
def job(corpus, tmp_path):
    file = tmp_path / "job.yaml"
    file.write_text(JOB.format(corpus=corpus, steps=12))
    return file


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def service(home, corpus):
    with serving(home, TELESCOPE_DATA_ROOTS=str(corpus)) as running:
        yield running


def telescope(*words):
    return CliRunner().invoke(app, list(map(str, words)))


def document(result):
    return json.loads(result.stdout)


def command(home, *words):
    return subprocess.Popen(
        [sys.executable, "-m", "api.cli", *map(str, words)],
        env=environment(home), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


# Bad input


@pytest.mark.parametrize(
    ("wrong", "right", "field", "remedy"),
    [
        ("pionts", "points", "search.lr.pionts", "did you mean points?"),
        ("depth: one", "depth: 1", "model.depth", "integer"),
        ("low: 2", "low: 4e-3", "search.lr.low", "swap them"),
        ("points: 0", "points: 5", "search.lr.points", "1"),
        ("base_width: 24", "base_width: 16", "model.base_width", "multiple"),
        (
            "calibration_width: 48",
            "calibration_width: 32",
            "model.calibration_width",
            "times a power of two",
        ),
        ("target_width: 16", "target_width: 64", "model.target_width", "32"),
        ("batch_tokens: 8", "batch_tokens: 64", "horizon.batch_tokens", "use a multiple of 16"),
        ("context: 16}\nlimits: {max_trials: 2}", "context: 16}", "limits.max_trials", "5"),
    ],
)
@pytest.mark.parametrize("verb", ["preview", "run"])
def test_an_invalid_job_is_refused_before_it_runs_with_field_and_remedy(
    job, verb, wrong, right, field, remedy
):
    assert right in job.read_text()
    job.write_text(job.read_text().replace(right, wrong, 1))
    result = telescope(verb, job)
    assert result.exit_code == 2
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if line.strip().startswith(f"{field}:")]
    assert lines, result.stderr
    assert remedy in lines[0]


@pytest.mark.parametrize("corpus_name", ["nowhere", "empty", "short.txt"])
def test_a_missing_empty_or_short_corpus_is_refused_by_field(job, tmp_path, corpus, corpus_name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "short.txt").write_text("too short")
    job.write_text(job.read_text().replace(str(corpus), str(tmp_path / corpus_name)))
    result = telescope("preview", job, "--json")
    assert result.exit_code == 2
    assert document(result)["error"]["problems"][0]["field"] == "data.corpus"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.yaml", "kind: telescope\nmodel: {depth: [1}\n", "line 2, column 18"),
        ("a.json", '{"kind": "telescope",\n "model" 3}', "line 2, column 10"),
        ("a.yaml", "", "is empty"),
        ("a.yaml", "# nothing\n", "holds no value"),
        ("a.yaml", "- a\n", "of type list"),
        ("a.yaml", b"\xff\xfe\xfd", "not UTF-8"),
        ("a.yaml", "kind: telescope\nkind: telescope\n", "line 2"),
    ],
)
def test_a_file_that_cannot_be_parsed_is_refused_with_the_place(tmp_path, name, text, words):
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    result = telescope("preview", tmp_path / name)
    assert result.exit_code == 2
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_standard_output_with_json_is_one_document_even_after_an_error(job, tmp_path):
    previewed = document(telescope("preview", job, "--json"))
    assert (previewed["kind"], previewed["trials"]["most"]) == ("telescope", 6)
    missing = telescope("preview", tmp_path / "missing.yaml", "--json")
    assert (missing.exit_code, document(missing)["error"]["code"]) == (2, "invalid_input")
    usage = telescope("preview", "--json")
    assert (usage.exit_code, document(usage)["error"]["code"]) == (2, "invalid_input")
    away = telescope("jobs", "--url", "http://127.0.0.1:1", "--json")
    assert (away.exit_code, document(away)["error"]["code"]) == (3, "unavailable")


@pytest.mark.parametrize(
    ("words", "field", "message"),
    [
        (("judge", "sweep.csv", "--target-width", "wide"), "--target-width", "valid integer"),
        (("judge",), "FILE.csv", "is missing"),
        (("preview",), "FILE", "is missing"),
        (("cancel",), "JOB", "is missing"),
        (("clone", "job-1", "--sett", "a=1"), "--sett", "No such option"),
        (("submitt",), "command", "submitt"),
    ],
)
def test_an_invalid_command_line_is_refused_by_option_or_argument(words, field, message):
    result = telescope(*words, "--json")
    [problem] = document(result)["error"]["problems"]
    assert (result.exit_code, problem["field"]) == (2, field)
    assert message in problem["message"]
    assert document(result)["error"]["message"].startswith(f"{field}: ")


def test_an_invalid_setting_is_named_by_option_and_variable():
    result = telescope("serve", "--port", 99999)
    assert result.exit_code == 2
    assert "--port (or TELESCOPE_PORT)" in result.stderr


COMMANDS = (
    "serve", "api", "coordinator", "migrate", "run", "submit", "preview", "watch", "result", "jobs",
    "cancel", "pause", "resume", "retry", "clone", "export", "corpus add", "corpus list",
)  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_has_an_example(name):
    result = telescope(*name.split(), "--help")
    assert result.exit_code == 0
    assert f"Example: telescope {name}" in result.stdout


def test_the_paragraphs_of_a_help_text_fill_the_terminal():
    lines = telescope("export", "--help").stdout.splitlines()
    (start,) = (i for i, line in enumerate(lines) if line.strip().startswith("Print a job's"))
    end = next(i for i in range(start, len(lines)) if not lines[i].strip())
    width = max(map(len, lines))
    for line, following in zip(lines[start:end], lines[start + 1 : end], strict=False):
        assert len(line.rstrip()) + 1 + len(following.split()[0]) > width - 2


# Answers


def test_a_registered_corpus_can_be_used_by_name(corpus, job):
    assert telescope("corpus", "add", "apples", corpus).exit_code == 0
    *_, item = document(telescope("corpus", "list", "--json"))["items"]
    assert (item["name"], item["path"]) == ("apples", str(corpus))
    job.write_text(job.read_text().replace(str(corpus), "apples"))
    assert telescope("preview", job).exit_code == 0


@pytest.fixture(scope="module")
def finished_run(corpus, tmp_path_factory):
    """A finished `telescope run`, and the folder that it ran in, which has a package `api`."""
    folder = tmp_path_factory.mktemp("ran")
    (folder / "api").mkdir()
    (folder / "api" / "settings.py").write_text("raise SystemExit('hostile')")
    (folder / "api" / "__init__.py").write_text("")
    (folder / "job.yaml").write_text(JOB.format(corpus=corpus, steps=12))
    words = ["run", "job.yaml", "--executor", "local", "--plot", "a.png"]
    process = subprocess.run(
        [sys.executable, "-P", "-m", "api.cli", *words],
        env=environment(folder / "home"),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=90,
    )
    return process, folder


def test_run_needs_no_service_and_prints_plain_lines_a_table_and_a_picture(finished_run):
    process, folder = finished_run
    out = process.stdout
    assert process.returncode in (0, 1), process.stderr
    lines = [line for line in out.splitlines() if line.startswith("tiny: ")]
    assert any("width 16: 5/5" in line for line in lines)
    assert any("width 32: 1/1" in line for line in lines)
    assert lines[-1].startswith("tiny: succeeded")
    assert max(map(len, out.partition("\n\n")[0].splitlines())) <= 120
    assert len(lines) == len(set(lines)), "a line per change"
    assert "train width 64 with lr" in out.lower()
    assert "Bill: 6 trials" in out
    assert "\x1b" not in out
    assert (folder / "a.png").read_bytes().startswith(b"\x89PNG")


def test_run_prints_the_result_document_of_the_service(job, tmp_path):
    process = command(tmp_path, "run", job, "--executor", "local", "--json")
    out, err = process.communicate(timeout=90)
    assert process.returncode in (0, 1), err
    settings = Settings(database_url=f"sqlite:///{tmp_path / 'telescope.db'}")
    with TestClient(create_app(settings)) as client:
        (job_summary,) = client.get("/v1/jobs").json()["items"]
        assert json.loads(out) == client.get(f"/v1/jobs/{job_summary['id']}/result").json()
    assert json.loads(out)["kind"] == "telescope"


def test_a_package_api_in_the_current_folder_is_not_imported(finished_run):
    process, folder = finished_run
    assert (folder / "api" / "settings.py").exists()
    assert "hostile" not in process.stderr
    assert "Bill: 6 trials" in process.stdout


def test_log_lines_have_date_level_and_name(finished_run):
    _, folder = finished_run
    log = (folder / "home" / "run.log").read_text()
    date = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}"
    line = rf"{date} INFO telescope.coordinator: job job-\S+ SUCCEEDED"
    assert re.search(line, log, re.MULTILINE), log


def test_an_interrupted_run_pauses_and_prints_how_to_resume(job, corpus, tmp_path):
    job.write_text(JOB.format(corpus=corpus, steps=100_000))
    process = command(tmp_path / "home", "run", job, "--executor", "local")
    for line in process.stdout:
        if "running" in line:
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 130
    resume = err.rpartition("telescope ")[2].split()
    assert resume[:2] == ["run", "--resume"]
    process = command(tmp_path / "home", *resume, "--executor", "local")
    assert "running" in next(
        line for line in process.stdout if "queued" not in line and "paused" not in line
    )
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)


def test_a_run_interrupted_twice_beside_a_service_pauses_the_job(service, home, job, corpus):
    job.write_text(JOB.format(corpus=corpus, steps=100_000))
    process = command(home, "run", job, "--json")
    next(line for line in process.stderr if "running" in line)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=20)
    error = json.loads(out)["error"]
    assert (process.returncode, error["code"]) == (130, "interrupted")
    assert error["message"].startswith(("Paused; ", "pause requested; "))

    def state():
        items = document(telescope("jobs", "--url", service.url, "--json"))["items"]
        return next(item["state"] for item in items if item["id"] == error["job"])

    eventually(lambda: state() == "PAUSED", 20, state)
    assert telescope("cancel", error["job"], "--url", service.url).exit_code == 0


def test_a_job_is_previewed_submitted_watched_and_read_over_http(service, job, tmp_path):
    url = ("--url", service.url)
    local, remote = (
        document(telescope("preview", job, *options, "--json")) for options in ((), url)
    )
    assert remote.keys() == local.keys()
    assert (remote["kind"], remote["trials"]) == (local["kind"], local["trials"])
    submitted = telescope("submit", job, *url, "--json")
    assert submitted.exit_code == 0, submitted.output
    job_id = document(submitted)["id"]
    watched = telescope("watch", job_id, *url)
    assert watched.exit_code == 0, watched.output
    assert "width 16: 5/5" in watched.stdout
    report = telescope("result", job_id, *url, "--json", "--plot", tmp_path / "a.png")
    assert document(report)["final"]
    assert report.exit_code == (0 if document(report)["verdict"] == "resolved" else 1)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert (
        f"width 64 with lr {document(report)['ladders'][0]['hyperparameters']['lr']['value']:.3g}"
        in telescope("result", job_id, *url).stdout
    )
    assert job_id in telescope("jobs", *url).stdout
    assert telescope("cancel", job_id, *url).exit_code == 2, "it has ended"


def test_a_job_is_paused_resumed_and_cancelled_over_http(service, corpus, job):
    url = ("--url", service.url)
    job.write_text(JOB.format(corpus=corpus, steps=100_000))
    job_id = document(telescope("submit", job, *url, "--json"))["id"]

    def state():
        return next(
            item["state"]
            for item in document(telescope("jobs", *url, "--json"))["items"]
            if item["id"] == job_id
        )

    eventually(lambda: state() == "RUNNING", 20, state)
    assert telescope("pause", job_id, *url).exit_code == 0
    eventually(lambda: state() == "PAUSED", 20, state)
    assert telescope("resume", job_id, *url).exit_code == 0
    eventually(lambda: state() == "RUNNING", 20, state)
    assert telescope("result", job_id, *url).exit_code == 1
    assert telescope("cancel", job_id, *url, "--json").exit_code == 0
    eventually(lambda: state() == "CANCELLED", 20, state)
    assert telescope("watch", job_id, *url).exit_code == 3
    assert telescope("retry", job_id, *url).exit_code == 0
    eventually(lambda: state() == "RUNNING", 20, state)
    assert telescope("cancel", job_id, *url).exit_code == 0
    eventually(lambda: state() == "CANCELLED", 20, state)


def test_a_clone_of_a_finished_job_reuses_all_trials_and_says_so(service, job):
    url = ("--url", service.url)
    job_id = document(telescope("submit", job, *url, "--json"))["id"]
    assert telescope("watch", job_id, *url).exit_code == 0
    cloned = document(
        telescope(
            "clone", job_id, "--set", "name=again", "--set", "limits.max_parallel=1", *url, "--json"
        )
    )
    assert (cloned["name"], cloned["study"]["limits"]["max_parallel"]) == ("again", 1)
    assert telescope("watch", cloned["id"], *url).exit_code == 0
    first = document(telescope("result", job_id, *url, "--json"))
    repeated = document(telescope("result", cloned["id"], *url, "--json"))
    assert (repeated["verdict"], repeated["reason"]) == (first["verdict"], first["reason"])
    trials = repeated["ladders"][0]["cost"]["trials"]
    assert (
        f"Bill: {trials} of {trials} trials reused, 0 tokens, 0 FLOP, 0 s of training"
        in telescope("result", cloned["id"], *url).stdout
    )
    refused = telescope("clone", job_id, "--set", "search.lr.pionts=4", *url)
    assert (refused.exit_code, "search.lr.pionts" in refused.stderr) == (2, True)
    refused = telescope("retry", job_id, *url)
    assert (refused.exit_code, "clone it" in refused.stderr) == (2, True)


def test_an_unknown_job_is_refused(service):
    result = telescope("result", "job-nowhere", "--url", service.url)
    assert result.exit_code == 2
    assert "job-nowhere" in result.stderr


# Errors of the installation, and interruptions


def test_run_prints_why_its_coordinator_does_not_start_and_how_to_resume(job, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "telescope.db.coordinator-lock").mkdir()  # a coordinator expects a file
    process = command(home, "run", job, "--executor", "local")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 3, err
    assert "waiting for: its coordinator" in out
    assert "telescope.db.coordinator-lock" in err.partition("the coordinator does not start: ")[2]
    assert str(home / "run.log") in err
    assert "telescope run --resume job-" in err
    assert "Traceback" not in err


def test_an_interrupted_command_prints_one_json_document(service, job, corpus, tmp_path):
    job.write_text(JOB.format(corpus=corpus, steps=100_000))
    run = command(tmp_path / "home", "run", job, "--executor", "local", "--json")
    submitted = document(telescope("submit", job, "--url", service.url, "--json"))["id"]
    watch = command(tmp_path / "home", "watch", submitted, "--url", service.url, "--json")
    for process in (run, watch):
        next(line for line in process.stderr if "running" in line)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)
        error = json.loads(out)["error"]
        assert (process.returncode, error["code"]) == (130, "interrupted")
        assert error["job"].startswith("job-")
        assert error["job"] in error["message"]
    telescope("cancel", submitted, "--url", service.url)


def test_the_result_of_a_cancelled_job_has_that_reason(service, job, corpus):
    url = ("--url", service.url)
    job.write_text(JOB.format(corpus=corpus, steps=100_000))
    job_id = document(telescope("submit", job, *url, "--json"))["id"]

    def newest():
        return document(telescope("jobs", *url, "--json"))["items"][0]

    eventually(lambda: newest()["state"] == "RUNNING", 20)
    telescope("cancel", job_id, *url)
    assert telescope("watch", job_id, *url).exit_code == 3
    result = telescope("result", job_id, *url, "--json")
    assert result.exit_code == 1
    assert (document(result)["final"], document(result)["reason"]) == (True, "cancelled")


@pytest.mark.parametrize(
    ("url", "status", "words"),
    [
        ("sqlite:////nonexistent/x.db", 2, "TELESCOPE_DATABASE_URL"),
        ("postgresql://:::/", 2, "TELESCOPE_DATABASE_URL"),
        ("postgresql://127.0.0.1:1/x", 3, "cannot reach the database"),
    ],
)
def test_an_unusable_database_is_refused_with_its_setting(url, status, words):
    result = telescope("migrate", "--database-url", url)
    assert result.exit_code == status
    assert words in result.stderr
    assert "unexpected" not in result.stderr


@pytest.mark.parametrize("verb", ["migrate", "coordinator", "serve"])
def test_a_database_of_a_newer_telescope_asks_for_an_upgrade(tmp_path, verb):
    url = f"sqlite:///{tmp_path}/newer.db"
    assert telescope("migrate", "--database-url", url).exit_code == 0
    with closing(sqlite3.connect(tmp_path / "newer.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'f00f'")
    process = command(tmp_path, verb, "--database-url", url)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "f00f" in err
    assert "upgrade telescope" in err
    assert "telescope migrate" not in err


def test_a_home_that_is_a_file_is_refused(tmp_path, monkeypatch):
    (tmp_path / "home").write_text("")
    monkeypatch.setenv("TELESCOPE_HOME", str(tmp_path / "home"))
    result = telescope("corpus", "list")
    assert result.exit_code == 2
    assert "TELESCOPE_HOME: cannot be used as a folder" in result.stderr


@pytest.mark.parametrize(("name", "text"), [("a.json", '{"a":' * 20_000), ("a.yaml", "[" * 20_000)])
def test_a_document_that_is_nested_too_deeply_is_refused(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    result = telescope("preview", tmp_path / name)
    assert result.exit_code == 2
    assert "too deeply" in result.stderr


def test_an_unexpected_error_is_one_line_or_one_json_document(job, monkeypatch):
    monkeypatch.setattr(job_file, "read_job_file", lambda file: 1 // 0)
    result = telescope("preview", job)
    assert (result.exit_code, result.stdout) == (3, "")
    assert "ZeroDivisionError" in result.stderr
    assert document(telescope("preview", job, "--json"))["error"]["code"] == "error"
