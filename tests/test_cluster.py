"""The services of docker-compose.yml as processes of this machine: a Ray cluster runs one job.

Commands, environments, health checks and their order come from the file. Replaced are only the
things that containers provide: host names, ports, and the folder of the shared volume.
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
from tests.compose_file import document, interpolated
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
    """The services of the file as processes, started one by one."""

    def __init__(self, folder: Path, replacements: dict[str, str]) -> None:
        self.services = interpolated(document(), SECRETS)["services"]
        self.folder = folder
        self.replacements = replacements
        self.marker = uuid.uuid4().hex
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def localised(self, text: str) -> str:
        """Replace the host names, ports and folders of containers by those of this machine."""
        for container_text, local_text in self.replacements.items():
            text = text.replace(container_text, local_text)
        return text

    def environment(self, name: str) -> dict[str, str]:
        """The environment of a service by the file, with only PATH from this process."""
        machine = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "RAY_TMPDIR": str(self.folder),
            "OMP_NUM_THREADS": "1",
            "SPT_NOENV": "1",  # or Ray's processes would overwrite the marker
            MARKER: self.marker,
        }
        variables = self.services[name]["environment"]
        return machine | {key: self.localised(value) for key, value in variables.items()}

    def start(self, name: str) -> subprocess.Popen[bytes]:
        command = [self.localised(argument) for argument in self.services[name]["command"]]
        with (self.folder / f"{name}.log").open("wb") as log:
            self.running[name] = subprocess.Popen(
                command,
                env=self.environment(name),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self.running[name]

    def healthy(self, name: str) -> bool:
        """Run the health check of the file once."""
        _, *probe = map(self.localised, self.services[name]["healthcheck"]["test"])
        process = subprocess.run(probe, env=self.environment(name), capture_output=True)
        return process.returncode == 0

    def wait_until_healthy(self, name: str) -> None:
        self._wait_until(name, "healthy", lambda: self.healthy(name))

    def wait_for_log(self, name: str, words: str) -> None:
        self._wait_until(name, f"logging {words!r}", lambda: words in self.log(name))

    def _wait_until(self, name: str, state: str, reached: Callable[[], bool]) -> None:
        deadline = time.monotonic() + STARTING_SECONDS
        while not reached():
            ended, late = self.running[name].poll() is not None, time.monotonic() > deadline
            assert not ended, f"{name} ended before it was {state}:\n{self.log(name)}"
            assert not late, f"{name} is not {state} in {STARTING_SECONDS:g} s:\n{self.log(name)}"
            time.sleep(0.1)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()[-4000:]

    def close(self) -> None:
        """End all services as compose does: by SIGTERM, then by SIGKILL."""
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
    # a short path: Ray appends some 65 characters, and the path of a socket has at most 107
    folder = Path(tempfile.mkdtemp(prefix="tc-", dir="/tmp"))
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
        cluster.wait_until_healthy("ray-head")
        cluster.start("ray-worker")
        cluster.wait_until_healthy("api")
        # one Ray node after the other, since they share the ports of this machine
        cluster.wait_for_log("ray-worker", "Ray runtime started")
        cluster.start("coordinator")
        yield cluster
    finally:
        cluster.close()


def database(postgres: Postgres) -> str:
    """Create a database of role `telescope`; return the part of its URL after the `@`."""
    url = postgres.database().replace("+psycopg", "")
    address = url.partition("@")[2]
    name = address.partition("?")[0].strip("/")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE ROLE telescope LOGIN")
        connection.execute(f"ALTER DATABASE {name} OWNER TO telescope")
    return address


def test_the_processes_of_the_compose_file_run_a_job_from_post_to_result(cluster: Cluster) -> None:
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
    expected: list[Trial] = []  # trained in this process
    while not (plan := study.plan(expected)).done:
        expected += [completed(spec, list(train_one(spec))) for spec in plan.start]
    assert {trial.digest: trial.loss for trial in trials} == {
        trial.digest: trial.loss for trial in expected
    }
    for trial in trials:
        _, _, pid = str(trial.worker).rpartition(":")
        ancestors = {process.pid for process in psutil.Process(int(pid)).parents()}
        assert cluster.running["ray-worker"].pid in ancestors, "it ran on another node"


def test_a_process_with_a_wrong_token_is_refused(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cluster.healthy("ray-head")
    environment = cluster.services["ray-head"]["environment"]
    monkeypatch.setitem(environment, "RAY_AUTH_TOKEN", uuid.uuid4().hex)
    assert not cluster.healthy("ray-head")
