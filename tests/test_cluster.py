"""The commands of docker-compose.yml as plain processes: PostgreSQL, a Ray cluster, one job.

Commands, environments, probes and their order come from the file. Only what a container would
provide is replaced: host names, ports, and the folder where the shared volume is mounted.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
import pytest

from api.job_states import JobState
from telescope.client.client import Client
from telescope.studies import registry
from telescope.train.loop import train_one
from telescope.trials.outcome import Trial, completed
from tests.compose_file import document, filled_in
from tests.databases import Postgres
from workers.processes import end_all

pytestmark = pytest.mark.slow  # several processes, and a cluster of their own

SECRETS = {"POSTGRES_PASSWORD": uuid.uuid4().hex, "RAY_AUTH_TOKEN": uuid.uuid4().hex}
MARKER = "TELESCOPE_TEST_CLUSTER"
STARTING_SECONDS = 45.0
ENDING_SECONDS = 8.0
JOB = {
    "kind": "telescope",
    "name": "cluster",
    "schedule": "paper",
    "model": {
        "base_width": 16,
        "calibration_width": 32,
        "target_width": 64,
        "depth": 1,
        "head_dim": 8,
    },
    "data": {"corpus": "python-docs", "tokenizer": "bytes", "context": 16},
    "horizon": {"steps": 6, "batch_tokens": 64, "evaluation_tokens": 256},
    "search": {"lr": {"low": 0.01, "high": 0.16, "points": 4}, "weight_decay": 0.1},
}


class Cluster:
    """The services of the file, as processes of this machine."""

    def __init__(self, folder: Path, replacements: dict[str, str]) -> None:
        self.services = filled_in(document(), SECRETS)["services"]
        self.folder = folder
        self.replacements = replacements
        self.marker = uuid.uuid4().hex
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def here(self, text: str) -> str:
        for inside, outside in self.replacements.items():
            text = text.replace(inside, outside)
        return text

    def environment(self, name: str) -> dict[str, str]:
        """The environment that the file gives the service, with only PATH from this process."""
        machine = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "RAY_TMPDIR": str(self.folder),
            "OMP_NUM_THREADS": "1",
            "SPT_NOENV": "1",  # or Ray's processes would overwrite the marker
            MARKER: self.marker,
        }
        return machine | {
            key: self.here(value) for key, value in self.services[name]["environment"].items()
        }

    def start(self, name: str) -> subprocess.Popen[bytes]:
        command = [self.here(argument) for argument in self.services[name]["command"]]
        with (self.folder / f"{name}.log").open("wb") as log:
            options = {
                "cwd": self.folder,
                "stdin": subprocess.DEVNULL,
                "stdout": log,
                "stderr": log,
                "start_new_session": True,
            }
            self.running[name] = subprocess.Popen(command, env=self.environment(name), **options)  # type: ignore[call-overload]
        return self.running[name]

    def healthy(self, name: str) -> bool:
        """Run the file's own probe once."""
        probe = [self.here(argument) for argument in self.services[name]["healthcheck"]["test"][1:]]
        return (
            subprocess.run(
                probe, env=self.environment(name), capture_output=True, check=False
            ).returncode
            == 0
        )

    def wait_healthy(self, name: str) -> None:
        self.wait_until(name, "healthy", lambda: self.healthy(name))

    def wait_until_said(self, name: str, words: str) -> None:
        self.wait_until(name, f"saying {words!r}", lambda: words in self.log(name))

    def wait_until(self, name: str, what: str, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + STARTING_SECONDS
        while not done():
            assert self.running[name].poll() is None, (
                f"{name} ended before {what}:\n{self.log(name)}"
            )
            assert time.monotonic() < deadline, (
                f"{name} is not {what} after {STARTING_SECONDS:g} s:\n{self.log(name)}"
            )
            time.sleep(0.1)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()[-4000:]

    def close(self) -> None:
        """End all services as compose does, by SIGTERM, then by force."""
        for process in self.running.values():
            process.terminate()
        deadline = time.monotonic() + ENDING_SECONDS
        for process in self.running.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
        assert end_all(self.marker, ENDING_SECONDS, MARKER)
        for process in self.running.values():
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def free_port() -> int:
    """A free port outside Ray's own range, 10002 to 19999."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            if not 10_002 <= (port := probe.getsockname()[1]) <= 19_999:
                return int(port)


@pytest.fixture(scope="module")
def cluster(postgres: Postgres) -> Iterator[Cluster]:
    """Start all services in the order of the file."""
    folder = Path(
        tempfile.mkdtemp(prefix="tc-", dir="/tmp")
    )  # short: Ray appends some 65 characters, and a socket's path ends at 107
    (folder / "home").mkdir()
    ray_port, http_port = str(free_port()), str(free_port())
    replacements = {
        "@postgres:5432/telescope": f"@{database(postgres)}",
        "/var/lib/telescope": str(folder / "home"),
        "ray-head:6379": f"127.0.0.1:{ray_port}",
        "--port=6379": f"--port={ray_port}",
        "8765": http_port,
        "0.0.0.0": "127.0.0.1",
    }
    cluster = Cluster(folder, replacements)
    try:
        cluster.start("ray-head")
        assert cluster.start("migrate").wait(STARTING_SECONDS) == 0, cluster.log("migrate")
        cluster.start("api")
        cluster.wait_healthy("ray-head")
        cluster.start("ray-worker")
        cluster.wait_healthy("api")
        cluster.wait_until_said(
            "ray-worker", "Ray runtime started"
        )  # one after the other: here they share a machine and its ports
        cluster.start("coordinator")
        yield cluster
    finally:
        cluster.close()


def database(postgres: Postgres) -> str:
    """A new database of the file's role, in place of `postgres:5432/telescope`."""
    url = postgres.database().replace("+psycopg", "")
    where = url.partition("@")[2]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE ROLE telescope LOGIN")
        connection.execute(
            f"ALTER DATABASE {where.partition('?')[0].strip('/')} OWNER TO telescope"
        )
    return where


def test_a_job_goes_from_post_to_result_through_the_processes_of_the_compose_file(
    cluster: Cluster,
) -> None:
    with Client(f"http://127.0.0.1:{cluster.replacements['8765']}") as client:
        job = client.submit(JOB)
        deadline = time.monotonic() + STARTING_SECONDS
        while not job.terminal:
            assert cluster.running["coordinator"].poll() is None, cluster.log("coordinator")
            assert time.monotonic() < deadline, f"{job}\n{cluster.log('coordinator')}"
            time.sleep(0.1)
            job = client.job(job.id)
        assert job.state == JobState.SUCCEEDED, f"{job.reason}\n{cluster.log('coordinator')}"
        trials = list(client.trials(job.id))
        assert client.result(job.id).final is True

    study = registry.resolved(registry.parse(JOB))
    alone: list[Trial] = []
    while not (plan := study.plan(alone)).done:
        alone += [completed(spec, list(train_one(spec))) for spec in plan.start]
    assert {trial.digest: trial.loss for trial in trials} == {
        trial.digest: trial.loss for trial in alone
    }
    for trial in trials:
        _, _, pid = str(trial.worker).rpartition(":")
        assert cluster.running["ray-worker"].pid in {
            parent.pid for parent in psutil.Process(int(pid)).parents()
        }, "it ran elsewhere"


def test_a_process_with_another_token_is_turned_away(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cluster.healthy("ray-head")
    monkeypatch.setitem(
        cluster.services["ray-head"]["environment"], "RAY_AUTH_TOKEN", uuid.uuid4().hex
    )
    assert not cluster.healthy("ray-head")
