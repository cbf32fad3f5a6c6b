"""End-to-end tests of `telescope serve` with Ray.

A job over HTTP, undisturbed or with processes killed at random, has the report of the plain loop.
"""

import csv
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from api.examples import EXAMPLES
from telescope.client.client import Client
from telescope.client.resources import Job
from telescope.errors import InvalidInput, Unavailable
from telescope.studies import registry, run_study
from telescope.train.loop import train_one

DOCUMENT: dict[str, Any] = {
    "kind": "telescope",
    "name": "end-to-end",
    "model": {
        "base_width": 16,
        "calibration_width": 32,
        "target_width": 64,
        "depth": 1,
        "head_dim": 8,
        "mlp_ratio": 2,
    },
    "data": {"corpus": "python-stdlib", "context": 32},
    "horizon": {"steps": 60, "batch_tokens": 128, "evaluation_tokens": 1024},
    "search": {
        "lr": {"low": 0.01, "high": 0.3, "points": 5},
        "weight_decay": {"low": 0.01, "high": 1.0, "points": 3},
    },
    "limits": {"max_base_runs": 60},
}

BATCHES: dict[str, Any] = {
    "kind": "compute_time",
    "name": "batches",
    "model": {"width": 16, "depth": 1, "head_dim": 8, "mlp_ratio": 2},
    "data": {"corpus": "python-stdlib", "context": 32},
    "batch_tokens": [128, 256],
    "target_losses": [2.9, 2.7],
    "runs": {
        "tokens": 8_000,
        "doublings": 1,
        "reading": "cooldown",
        "lengths": 3,
        "evaluation_tokens": 1024,
    },
    "tuning": {
        "lr": {"low": 0.02, "high": 0.08, "points": 3},
        "batch_tokens": [256],
        "extensions": 1,
    },
    "seeds": 2,
}
MODULE: dict[str, Any] = {
    "kind": "telescope",
    "name": "a user's model",
    "model": {"family": "module", "base_width": 32, "calibration_width": 64, "target_width": 256},
    "data": {"corpus": "python-stdlib", "context": 32},
    "horizon": {"steps": 20, "batch_tokens": 128, "evaluation_tokens": 1024},
    "search": {"lr": {"low": 0.003, "high": 0.2, "points": 4}, "weight_decay": 0.1},
    "schedule": "paper",
}
GROKKING: dict[str, Any] = {
    "kind": "grokking",
    "name": "sums",
    "model": {"width": 16, "depth": 1, "head_dim": 8, "mlp_ratio": 2, "dropout": 0.1},
    "data": {"task": "add", "modulus": 7, "train_share": 0.6},
    "runs": {"epochs": 16, "batch_rows": 10, "evaluate_epochs": 2, "sustained_evaluations": 2},
    "tuning": {"lr": {"low": 0.01, "high": 0.1, "points": 2}, "extensions": 1},
    "seeds": 2,
}
TIMES = ("seconds", "hours", "dominance")


def without_times(document: Any) -> Any:
    """A report without the fields that depend on measured times."""
    if isinstance(document, dict):
        return {
            key: without_times(value)
            for key, value in document.items()
            if not any(name in key for name in TIMES)
        }
    if isinstance(document, list):
        return [without_times(value) for value in document if not in_seconds(value)]
    return document


def in_seconds(value: Any) -> bool:
    """True for a row of a table that is measured in seconds."""
    return isinstance(value, dict) and value.get("unit") == "seconds"


def plain_loop(document: dict[str, Any], home: Path) -> Any:
    """The report of `telescope.studies.run_study` in this process, without times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TELESCOPE_HOME", str(home))
        study = registry.resolved(registry.parse(document))
        report = registry.report_document(run_study(study, train_one))
    return without_times({"kind": study.kind.name} | report)


@pytest.fixture(scope="module")
def plain_report(session_home: Path) -> Any:
    return plain_loop(DOCUMENT, session_home)


@pytest.fixture(scope="module")
def plain_comparison(session_home: Path) -> Any:
    """The report on `BATCHES`, where branches do not resume from the state of their trunk."""
    return plain_loop(BATCHES, session_home)


@pytest.fixture(scope="module")
def plain_grokking(session_home: Path) -> Any:
    return plain_loop(GROKKING, session_home)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Call `condition` until it returns a true value; return that value."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {seconds:g} s")


def process_tree(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [
        process
        for process in processes
        if process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    ]


class Service:
    """A running `telescope serve`, and all processes that it has had."""

    def __init__(self, home: Path, settings: Mapping[str, str]) -> None:
        self.port = free_port()
        self.log = home / "serve.log"
        options = ["--port", str(self.port), "--workers", "2"]
        command = [sys.executable, "-m", "api.cli", "serve", *options]
        home_settings = {"TELESCOPE_HOME": str(home), "TELESCOPE_CHECKPOINT_SECONDS": "0.1"}
        environment = os.environ | home_settings | dict(settings)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        self.client = Client(f"http://127.0.0.1:{self.port}")
        self.processes: dict[int, psutil.Process] = {}
        wait_for(self.ready, 60, "the service is ready")

    def ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return bool(self.client.ready())
        except Unavailable:
            return False

    def coordinator(self) -> psutil.Process | None:
        """The coordinator's process, found by its command line, as an operator would find it."""
        for process in psutil.Process(self.process.pid).children(recursive=True):
            command = process.cmdline()
            if "coordinator" in command and not command[0].startswith("ray::"):
                return process
        return None

    def record_processes(self) -> None:
        """Remember all present processes of the service, so that their end can be checked."""
        self.processes |= {process.pid: process for process in process_tree(self.process.pid)}


@contextmanager
def serving(home: Path, **settings: str) -> Iterator[Service]:
    service = Service(home, settings)
    try:
        yield service
    finally:
        service.client.close()
        service.record_processes()
        service.process.send_signal(signal.SIGTERM)
        try:
            service.process.wait(12)
        finally:
            print(service.log.read_text()[-6000:])
            orphans = alive(list(service.processes.values()))
            for process in orphans:
                process.kill()
        assert not orphans, f"still running: {orphans}"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that may call the factories of one module, in a folder that only it reads."""
    models = tmp_path_factory.mktemp("models")
    shutil.copy(EXAMPLES["huggingface"].path, models / "hub_models.py")
    settings = {"TELESCOPE_FACTORIES": "hub_models:*", "TELESCOPE_FACTORY_PATH": str(models)}
    with serving(tmp_path_factory.mktemp("service"), **settings) as service:
        yield service


def wait_until_succeeded(service: Service, job_id: str, seconds: float) -> Job:
    def ended_job() -> Job | None:
        job = service.client.job(job_id)
        return job if job.terminal else None

    job: Job = wait_for(ended_job, seconds, f"{job_id} ends")
    assert job.state == "SUCCEEDED", f"{job}\n{service.log.read_text()[-3000:]}"
    return job


def test_the_service_has_the_report_of_the_plain_loop(service: Service, plain_report: Any) -> None:
    job = service.client.submit(DOCUMENT)
    wait_until_succeeded(service, job.id, 120)
    assert without_times(service.client.document(job.id)) == plain_report
    assert plain_report["final"]
    trials = list(service.client.trials(job.id))
    assert {(trial.state, trial.attempt) for trial in trials} == {("COMPLETED", 1)}
    assert all(service.client.curve(trial.id).step[-1] == trial.steps for trial in trials)


def test_the_same_job_again_gives_the_same_answer_and_trains_nothing(
    service: Service, plain_report: Any
) -> None:
    job = wait_until_succeeded(service, service.client.submit(DOCUMENT).id, 60)
    (repeated,), (ladder,) = service.client.document(job.id)["ladders"], plain_report["ladders"]
    for name in ("verdict", "hyperparameters", "levels"):
        assert repeated[name] == ladder[name]
    assert (repeated["cost"]["reused"], repeated["cost"]["flops"]) == (ladder["cost"]["trials"], 0)
    assert all(trial.reused_from for trial in service.client.trials(job.id))


def completed_trials(service: Service, job_id: str) -> dict[int, Any]:
    return {trial.id: trial for trial in service.client.trials(job_id, state="COMPLETED")}


def wait_for_trials(service: Service, job_id: str, count: int) -> None:
    wait_for(
        lambda: len(completed_trials(service, job_id)) >= count, 120, f"{count} trials are done"
    )


def kill_a_worker(service: Service, job_id: str, generator: random.Random) -> bool:
    """Kill the process that trains a trial; return True if a trial failed by that.

    The trial may have ended before, so that the process had another trial or none.
    """
    for trial in service.client.trials(job_id, state="RUNNING"):
        if trial.worker and generator.random() < 0.5:
            with suppress(psutil.NoSuchProcess):
                psutil.Process(int(trial.worker.partition(":")[2])).kill()
            time.sleep(0.5)
            return any(trial.failures > 0 for trial in service.client.trials(job_id))
    return False


@pytest.mark.slow
def test_two_dead_coordinators_and_a_dead_worker_change_nothing(
    service: Service, plain_report: Any
) -> None:
    seed = int(os.environ.get("TELESCOPE_TEST_SEED", time.time_ns() % 10_000))
    print(f"seed {seed}")
    generator = random.Random(seed)
    job_id = service.client.submit(DOCUMENT | {"reuse": False}).id
    finished: dict[int, Any] = {}
    victims: list[psutil.Process] = []
    for death in range(3):
        count = len(completed_trials(service, job_id))
        wait_for_trials(service, job_id, count + generator.randint(1, 6))
        service.record_processes()
        coordinator = service.coordinator()
        assert coordinator is not None
        finished |= completed_trials(service, job_id)
        if death == 1:
            wait_for(
                lambda: kill_a_worker(service, job_id, generator), 30, "a trial loses its worker"
            )
        else:
            victims += process_tree(coordinator.pid)
            coordinator.kill()
    wait_until_succeeded(service, job_id, 180)
    assert without_times(service.client.document(job_id)) == plain_report
    trials = completed_trials(service, job_id)
    assert finished.items() <= trials.items(), "a finished trial ran again"
    assert max(trial.attempt for trial in trials.values()) > 1
    assert sum(trial.failures for trial in trials.values()) == 1
    for trial in trials.values():
        steps = service.client.curve(trial.id).step
        assert steps == tuple(range(1, trial.steps + 1)), "a point is missing or repeated"
    wait_for(lambda: not alive(victims), 15, "the dead coordinators' processes are gone")


@pytest.mark.slow
def test_a_dead_coordinator_changes_nothing_of_a_comparison_of_optimizers_over_batches(
    service: Service, plain_comparison: Any
) -> None:
    job_id = service.client.submit(BATCHES).id
    wait_for_trials(service, job_id, 12)
    finished, coordinator = completed_trials(service, job_id), service.coordinator()
    assert coordinator is not None
    service.record_processes()
    coordinator.kill()
    wait_until_succeeded(service, job_id, 180)
    assert without_times(service.client.document(job_id)) == plain_comparison
    trials = completed_trials(service, job_id)
    assert finished.items() <= trials.items(), "a finished trial ran again"
    assert plain_comparison["final"]
    assert any(target["reached"] for target in plain_comparison["targets"])


def test_api_csv_and_command_line_give_the_same_answer_to_a_target_loss(service: Service) -> None:
    job = service.client.submit(BATCHES)
    wait_until_succeeded(service, job.id, 180)
    command = ["frontier", job.id, "--target-loss", "2.75", "--url", service.client.url]
    answers_document = json.loads(command_output(*command, "--json"))
    answers = {
        "frontier": service.client.frontier,
        "batch-sizes": service.client.batch_sizes,
        "token-ratio": service.client.token_ratio,
    }
    for table, answer in answers.items():
        document = registry.report_document(answer(job.id, 2.75))
        assert answers_document[table.replace("-", "_")] == document
        assert document["rows"]
        table_csv = service.client.csv(job.id, table, 2.75)
        assert command_output(*command, "--csv", table) == table_csv
        assert list(csv.DictReader(table_csv.splitlines())) == [
            {name: cell(value) for name, value in row.items()} for row in document["rows"]
        ]


def test_api_csv_and_command_line_agree_on_a_grokking_job(
    service: Service, plain_grokking: Any
) -> None:
    job = service.client.submit(GROKKING)
    wait_until_succeeded(service, job.id, 120)
    report = service.client.document(job.id)
    assert without_times(report) == plain_grokking
    assert report["final"]
    assert {trial.stage for trial in service.client.trials(job.id)} == {"tuning", "runs"}
    command = ["grokking", job.id, "--url", service.client.url, "--table"]
    tables = {
        "cells": service.client.grokking_cells(job.id),
        "runs": service.client.grokking_runs(job.id),
    }
    assert [registry.report_document(run) for run in tables["runs"]] == report["runs"]
    output = json.loads(command_output(*command, "cells", "--json"))
    assert output["items"] == list(map(registry.report_document, tables["cells"]))
    for table, rows in tables.items():
        table_csv = service.client.grokking_csv(job.id, table)
        assert list(csv.DictReader(table_csv.splitlines())) == [
            {name: cell(value) for name, value in registry.report_document(row).items()}
            for row in rows
        ]
    assert command_output(*command, "runs", "--csv") == table_csv


@pytest.mark.slow
def test_a_dead_coordinator_changes_nothing_of_a_grokking_study(
    service: Service, plain_grokking: Any
) -> None:
    job_id = service.client.submit(GROKKING | {"reuse": False}).id
    wait_for_trials(service, job_id, 2)
    finished, coordinator = completed_trials(service, job_id), service.coordinator()
    assert coordinator is not None
    service.record_processes()
    coordinator.kill()
    wait_until_succeeded(service, job_id, 180)
    assert without_times(service.client.document(job_id)) == plain_grokking
    trials = completed_trials(service, job_id)
    assert finished.items() <= trials.items(), "a finished trial ran again"


def command_output(*words: str) -> str:
    """The output of a command, with its line ends."""
    command = [sys.executable, "-m", "api.cli", *words]
    return subprocess.run(command, check=True, capture_output=True).stdout.decode()


def cell(value: Any) -> str:
    """A value in CSV."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "optimizer", "hidden"),
    [
        ("llama", "muon", "model.layers.0.self_attn.q_proj.weight"),
        ("gpt2", "adamw", "transformer.h.0.attn.c_attn.weight"),
    ],
)
def test_workers_receive_the_code_of_a_transformers_model_and_train_its_ladder(
    service: Service, name: str, optimizer: str, hidden: str
) -> None:
    document = MODULE | {
        "optimizer": optimizer,
        "model": MODULE["model"] | {"factory": f"hub_models:{name}"},
    }
    job = wait_until_succeeded(service, service.client.submit(document).id, 240)
    (ladder,) = service.client.document(job.id)["ladders"]
    coordinates = ladder["coordinates"]
    assert coordinates["verdict"] in ("pass", "unresolved"), coordinates["reason"]
    assert [level["width"] for level in ladder["levels"]] == [32, 64]
    (group,) = [group for group in ladder["parameter_groups"] if hidden in group["names"]]
    assert (group["role"], group["optimizer"]) == ("hidden", optimizer)


def test_a_factory_that_the_operator_did_not_list_is_refused(service: Service) -> None:
    model = MODULE["model"] | {"factory": "tests.telescope.user_models:mixture"}
    remedy = r"allowed: hub_models:\*\); ask the server's operator to add the factory"
    with pytest.raises(InvalidInput, match=remedy) as refused:
        service.client.submit(MODULE | {"model": model})
    assert refused.value.problems[0].field == "model.factory"
