"""The Ray executor in a cluster that it did not start: full, spread over nodes, lost.

The cluster has the shape of that in docker-compose.yml: a head without CPUs, and a node for the
workers.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from telescope.errors import Unavailable
from tests.telescope.small import trial
from tests.workers.driving import Driver, python, reference_curve, without_seconds
from workers import processes
from workers.interface import Finished, Waiting
from workers.on_ray.actors import RayExecutor
from workers.on_ray.cluster import Joining

pytestmark = pytest.mark.slow  # several processes, and a cluster of their own


@dataclass(frozen=True)
class Node:
    """One node of a Ray cluster on this machine; its processes have a marker."""

    marker: str

    @classmethod
    def start(cls, *options: str) -> "Node":
        node = cls(uuid4().hex)
        ray = [sys.executable, "-m", "ray.scripts.scripts"]
        command = [*ray, "start", *options, "--disable-usage-stats"]
        environment = os.environ | {processes.MARKER: node.marker, "SPT_NOENV": "1"}
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)
        return node

    def end(self) -> None:
        assert processes.end_all(self.marker, 5.0)


def free_port() -> int:
    """A free port below Ray's own range for workers, which begins at 10002."""
    for port in range(6400, 6500):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise AssertionError("no free port")


@pytest.fixture(scope="module")
def cluster(session_home: Path) -> Iterator[tuple[str, Node]]:
    port = free_port()
    # not in pytest's folder, since the path of a socket must be short
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory(prefix="telescope-") as folder,
    ):
        patch.setenv("TELESCOPE_HOME", str(session_home))
        head = Node.start(
            "--head",
            f"--port={port}",
            "--num-cpus=0",
            "--include-dashboard=false",
            f"--temp-dir={folder}",
        )
        node = Node.start(f"--address=127.0.0.1:{port}", "--num-cpus=2")
        yield f"127.0.0.1:{port}", head
        node.end()
        head.end()


def test_several_nodes_without_shared_storage_are_refused_with_the_reason(
    cluster: tuple[str, Node],
) -> None:
    with pytest.raises(
        Unavailable, match=r"on 1 other node.*TELESCOPE_HOME on storage that all nodes share"
    ):
        RayExecutor(joining=Joining(cluster[0]))


def test_trials_wait_for_a_full_cluster_and_the_shortage_is_reported(
    cluster: tuple[str, Node], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", cluster[0])
    with python("tests.workers.ray_driver", "hold", cluster[0]) as foreign:
        assert foreign.line() == "held"
        executor = RayExecutor(joining=Joining(shared_storage=True), patience_seconds=1.0)
        driver = Driver(executor, tmp_path)
        assignment = driver.submit(trial())
        driver.until(lambda: any(isinstance(event, Waiting) for event in driver.seen), seconds=5)
        assert executor.slots == 2
        reasons = [event.reason or "" for event in driver.seen if isinstance(event, Waiting)]
        assert (
            "a worker asks for 1 CPU; 0 of the cluster's 2 CPU are free; the rest is in use"
            in reasons[0]
        )
        assert not driver.of(assignment)
    driver.until_end(assignment)
    driver.until(lambda: driver.seen.count(Waiting(None)) == 1)
    assert isinstance(driver.terminal(assignment), Finished)
    assert without_seconds(driver.curve(assignment)) == reference_curve(trial())
    executor.close()


def test_a_gpu_that_the_cluster_never_has_is_reported_at_once(
    cluster: tuple[str, Node], tmp_path: Path
) -> None:
    executor = RayExecutor(joining=Joining(cluster[0], shared_storage=True, gpus_per_worker=1.0))
    driver = Driver(executor, tmp_path)
    driver.until(lambda: bool(driver.seen), seconds=5)
    assert "asks for 1 GPU, but this Ray cluster has" in str(driver.seen[0])
    executor.close()


def test_a_lost_head_is_an_error_long_before_ray_ends_the_process(
    cluster: tuple[str, Node], session_home: Path
) -> None:
    address, head = cluster
    with python(
        "tests.workers.ray_driver",
        "train",
        address,
        environment={"TELESCOPE_HOME": str(session_home)},
    ) as child:
        assert child.line() == "trains"
        head.end()
        start = time.monotonic()
        assert "does not answer" in child.line(seconds=30)
        assert child.line(seconds=10) == "closed"
        assert time.monotonic() - start < 40


def test_workers_follow_a_cluster_that_grows(
    session_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELESCOPE_HOME", str(session_home))
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="telescope-") as folder:
        head = Node.start(
            "--head",
            f"--port={port}",
            "--num-cpus=0",
            "--include-dashboard=false",
            f"--temp-dir={folder}",
        )
        executor = RayExecutor(joining=Joining(f"127.0.0.1:{port}", shared_storage=True))
        driver = Driver(executor, tmp_path)
        assignment = driver.submit(trial())
        driver.until(lambda: any(isinstance(event, Waiting) for event in driver.seen), seconds=10)
        assert executor.slots == 1
        # Ray counts GPUs, it need not see them
        node = Node.start(f"--address=127.0.0.1:{port}", "--num-cpus=3", "--num-gpus=2")
        assert isinstance(driver.until_end(assignment)[-1], Finished)
        driver.until(lambda: executor.slots == 2, seconds=20)  # one for each GPU, not for each CPU
        executor.close()
        node.end()
        head.end()


def test_an_address_without_a_cluster_is_refused_within_seconds() -> None:
    start = time.monotonic()
    with pytest.raises(
        Unavailable, match=r"cannot join the Ray cluster at 127\.0\.0\.1:1: nothing answers"
    ):
        RayExecutor(joining=Joining("127.0.0.1:1"))
    assert time.monotonic() - start < 10
