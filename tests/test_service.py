"""End-to-end tests of `telescope serve` with real Ray, compared with the plain loop.

A job over HTTP runs undisturbed, and with processes killed at random.
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
CLOCKS = ("seconds", "hours", "dominance")


def without_clocks(document: Any) -> Any:
    """A report without its wall-clock fields."""
    if isinstance(document, dict):
        return {
            key: without_clocks(value)
            for key, value in document.items()
            if not any(clock in key for clock in CLOCKS)
        }
    return [without_clocks(value) for value in document] if isinstance(document, list) else document


@pytest.fixture(scope="module")
def plain_report(session_home: Path) -> Any:
    """The report of `telescope.studies.run_study` in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TELESCOPE_HOME", str(session_home))
        study = registry.resolved(registry.parse(DOCUMENT))
        return without_clocks(
            {"kind": study.kind.name} | registry.report_document(run_study(study, train_one))
        )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {seconds:g} s")


def tree(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


class Service:
    """A running `telescope serve`, and the processes that it was seen to own."""

    def __init__(self, home: Path, settings: Mapping[str, str]) -> None:
        self.port = free_port()
        self.log = home / "serve.log"
        command = [
            sys.executable,
            "-m",
            "api.cli",
            "serve",
            "--port",
            str(self.port),
            "--workers",
            "2",
        ]
        environment = {
            **os.environ,
            "TELESCOPE_HOME": str(home),
            "TELESCOPE_CHECKPOINT_SECONDS": "0.1",
            **settings,
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        self.client = Client(f"http://127.0.0.1:{self.port}")
        self.seen: dict[int, psutil.Process] = {}
        wait_for(self.ready, 60, "the service is ready")

    def ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return bool(self.client.ready())
        except Unavailable:
            return False

    def coordinator(self) -> psutil.Process | None:
        """The coordinator's process, found by its command line, as an operator would."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return next(
            (
                p
                for p in children
                if "coordinator" in p.cmdline() and not p.cmdline()[0].startswith("ray::")
            ),
            None,
        )

    def note(self) -> list[psutil.Process]:
        """Remember every process of the service."""
        found = tree(self.process.pid)
        self.seen |= {p.pid: p for p in found}
        return found


@contextmanager
def serving(home: Path, **settings: str) -> Iterator[Service]:
    service = Service(home, settings)
    try:
        yield service
    finally:
        service.client.close()
        service.note()
        service.process.send_signal(signal.SIGTERM)
        try:
            service.process.wait(12)
        finally:
            print(service.log.read_text()[-6000:])
            left = alive(list(service.seen.values()))
            for process in left:
                process.kill()
        assert not left, f"left behind: {left}"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that may run the factories of one module, copied to a folder that only it reads."""
    models = tmp_path_factory.mktemp("models")
    shutil.copy(
        Path(__file__).parents[1] / "api" / "examples" / "huggingface.py", models / "hub_models.py"
    )
    listed = {"TELESCOPE_FACTORIES": "hub_models:*", "TELESCOPE_FACTORY_PATH": str(models)}
    with serving(tmp_path_factory.mktemp("service"), **listed) as running:
        yield running


def final(service: Service, job_id: str, seconds: float) -> Job:
    job: Job = wait_for(
        lambda: (j := service.client.job(job_id)).terminal and j, seconds, f"{job_id} ends"
    )
    assert job.state == "SUCCEEDED", f"{job}\n{service.log.read_text()[-3000:]}"
    return job


def test_the_service_gives_the_report_of_the_plain_loop(
    service: Service, plain_report: Any
) -> None:
    job = service.client.submit(DOCUMENT)
    final(service, job.id, 120)
    assert without_clocks(service.client.document(job.id)) == plain_report
    assert plain_report["final"]
    trials = list(service.client.trials(job.id))
    assert {t.state for t in trials} == {"COMPLETED"}
    assert {t.attempt for t in trials} == {1}
    assert all(service.client.curve(trial.id).step[-1] == trial.steps for trial in trials)


def test_the_same_job_again_gives_the_same_answer_and_trains_nothing(
    service: Service, plain_report: Any
) -> None:
    job = final(service, service.client.submit(DOCUMENT).id, 60)
    (again,), (ladder,) = service.client.document(job.id)["ladders"], plain_report["ladders"]
    assert {name: again[name] for name in ("verdict", "hyperparameters", "levels")} == {
        name: ladder[name] for name in ("verdict", "hyperparameters", "levels")
    }
    assert (again["cost"]["reused"], again["cost"]["flops"]) == (ladder["cost"]["trials"], 0)
    assert all(trial.reused_from for trial in service.client.trials(job.id))


def completed_trials(service: Service, job_id: str) -> dict[int, Any]:
    return {t.id: t for t in service.client.trials(job_id, state="COMPLETED")}


def kill_a_worker(service: Service, job_id: str, chance: random.Random) -> bool:
    """Kill the process that trains a trial; return True if a trial was affected.

    The trial may have ended first, and the process have another one or none.
    """
    for trial in service.client.trials(job_id, state="RUNNING"):
        if trial.worker and chance.random() < 0.5:
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
    chance = random.Random(seed)
    job_id = service.client.submit(DOCUMENT | {"reuse": False}).id
    finished: dict[int, Any] = {}
    victims: list[psutil.Process] = []
    for death in range(3):
        goal = len(completed_trials(service, job_id)) + chance.randint(1, 6)
        wait_for(
            lambda goal=goal: len(completed_trials(service, job_id)) >= goal,
            120,
            f"{goal} trials are done",
        )
        service.note()
        coordinator = service.coordinator()
        assert coordinator is not None
        finished |= completed_trials(service, job_id)
        if death == 1:
            wait_for(lambda: kill_a_worker(service, job_id, chance), 30, "a trial loses its worker")
        else:
            victims += tree(coordinator.pid)
            coordinator.kill()
    final(service, job_id, 180)
    assert without_clocks(service.client.document(job_id)) == plain_report
    now = completed_trials(service, job_id)
    assert {
        trial_id: now[trial_id] for trial_id in finished
    } == finished  # no finished trial ran again
    assert max(t.attempt for t in now.values()) > 1
    assert sum(t.failures for t in now.values()) == 1
    for trial in now.values():
        assert service.client.curve(trial.id).step == tuple(
            range(1, trial.steps + 1)
        )  # no hole, no point twice
    wait_for(lambda: not alive(victims), 15, "the dead coordinators' processes are gone")


@pytest.fixture(scope="module")
def plain_comparison(session_home: Path) -> Any:
    """The report of `telescope.studies.run_study` on `BATCHES` in this process, where branches
    train alone.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TELESCOPE_HOME", str(session_home))
        study = registry.resolved(registry.parse(BATCHES))
        return without_clocks(
            {"kind": study.kind.name} | registry.report_document(run_study(study, train_one))
        )


@pytest.mark.slow
def test_a_dead_coordinator_changes_nothing_of_a_comparison_of_optimizers_over_batches(
    service: Service, plain_comparison: Any
) -> None:
    job_id = service.client.submit(BATCHES).id
    wait_for(lambda: len(completed_trials(service, job_id)) >= 12, 120, "12 trials are done")
    finished, coordinator = completed_trials(service, job_id), service.coordinator()
    assert coordinator is not None
    service.note()
    coordinator.kill()
    final(service, job_id, 180)
    assert without_clocks(service.client.document(job_id)) == plain_comparison
    now = completed_trials(service, job_id)
    assert {
        trial_id: now[trial_id] for trial_id in finished
    } == finished  # no finished trial ran again
    assert plain_comparison["final"]
    assert any(target["reached"] for target in plain_comparison["targets"])


def test_the_answer_to_a_loss_comes_back_the_same_from_api_csv_and_command_line(
    service: Service,
) -> None:
    job = service.client.submit(BATCHES)
    final(service, job.id, 180)
    asked = ["frontier", job.id, "--target-loss", "2.75", "--url", service.client.url]
    said = json.loads(spoken(*asked, "--json"))
    answers = {
        "frontier": service.client.frontier,
        "batch-sizes": service.client.batch_sizes,
        "token-ratio": service.client.token_ratio,
    }
    for table, answer in answers.items():
        document = registry.report_document(answer(job.id, 2.75))
        assert said[table.replace("-", "_")] == document
        assert document["rows"]
        text = service.client.csv(job.id, table, 2.75)
        assert spoken(*asked, "--csv", table) == text
        assert list(csv.DictReader(text.splitlines())) == [
            {name: cell(value) for name, value in row.items()} for row in document["rows"]
        ]


def spoken(*words: str) -> str:
    """The output of a command, up to the last carriage return."""
    command = [sys.executable, "-m", "api.cli", *words]
    return subprocess.run(command, check=True, capture_output=True).stdout.decode()


def cell(value: Any) -> str:
    """A value as in CSV."""
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "optimizer", "hidden"),
    [
        ("llama", "muon", "model.layers.0.self_attn.q_proj.weight"),
        ("gpt2", "adamw", "transformer.h.0.attn.c_attn.weight"),
    ],
)
def test_a_model_of_the_transformers_library_runs_a_ladder_on_workers_that_are_sent_its_code(
    service: Service, name: str, optimizer: str, hidden: str
) -> None:
    asked = MODULE | {
        "optimizer": optimizer,
        "model": MODULE["model"] | {"factory": f"hub_models:{name}"},
    }
    job = final(service, service.client.submit(asked).id, 240)
    (ladder,) = service.client.document(job.id)["ladders"]
    assert ladder["coordinates"]["verdict"] in ("pass", "unresolved"), ladder["coordinates"][
        "reason"
    ]
    assert [level["width"] for level in ladder["levels"]] == [32, 64]
    (group,) = [group for group in ladder["parameter_groups"] if hidden in group["names"]]
    assert (group["role"], group["optimizer"]) == ("hidden", optimizer)


def test_a_factory_that_the_operator_did_not_list_is_refused(service: Service) -> None:
    with pytest.raises(InvalidInput) as refused:
        service.client.submit(
            MODULE | {"model": MODULE["model"] | {"factory": "tests.telescope.user_models:mixture"}}
        )
    assert refused.value.problems[0].field == "model.factory"
    assert "allowed: hub_models:*); ask its operator to list it in TELESCOPE_FACTORIES" in str(
        refused.value
    )
