"""The Ray executor copes with dead and stuck workers, a killed driver, and its own end."""

import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.telescope.small import trial
from tests.workers.driving import LONG, Driver, descendants, python, until_dead
from workers import processes
from workers.interface import Finished, Stopped
from workers.on_ray import slot
from workers.on_ray.actors import RayExecutor
from workers.on_ray.cluster import Demand


@pytest.fixture(scope="module")
def executor(session_home: Path) -> Iterator[RayExecutor]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TELESCOPE_HOME", str(session_home))
        executor = RayExecutor(2)
        yield executor
        executor.close()


@pytest.fixture
def driver(executor: RayExecutor, tmp_path: Path) -> Driver:
    return Driver(executor, tmp_path)


def test_a_worker_that_dies_while_idle_is_replaced_before_it_gets_a_trial(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slot, "FRESH_SECONDS", 0.0)
    first = [driver.submit(trial(seed=seed)) for seed in range(2)]
    driver.until_end(*first)
    worker = psutil.Process(driver.pid(first[0]))
    worker.kill()
    until_dead([worker])
    second = [driver.submit(trial()) for _ in first]
    driver.until_end(*second)
    assert all(isinstance(driver.terminal(assignment), Finished) for assignment in second)


def test_stopping_a_stuck_worker_kills_it(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot, "STUCK_SECONDS", 1.0)
    stuck = driver.submit(trial(horizon=LONG))
    driver.until_points(stuck)
    worker = psutil.Process(driver.pid(stuck))
    worker.suspend()
    driver.executor.stop(stuck.trial_id)
    assert driver.until_end(stuck, seconds=5)[-1] == Stopped(stuck.trial_id, 1)
    until_dead([worker], seconds=10)  # Ray asks for 5 s before it kills
    assert isinstance(driver.until_end(driver.submit(trial()))[-1], Finished)


def test_trials_share_warm_workers(driver: Driver) -> None:
    assignments = [driver.submit(trial(seed=seed)) for seed in range(8)]
    driver.until_end(*assignments)
    assert len({driver.pid(assignment) for assignment in assignments}) <= 2


def test_close_leaves_no_process_and_no_file_behind(driver: Driver) -> None:
    driver.until_points(driver.submit(trial(horizon=LONG)))
    children = descendants()
    folder = driver.executor._cluster.folder
    assert folder.is_dir()
    assert len(children) > 5
    start = time.monotonic()
    driver.executor.close()
    assert time.monotonic() - start < 5
    until_dead(children, seconds=0.1)
    assert not folder.exists()


@pytest.mark.slow
def test_a_dead_node_under_the_driver_is_an_error_not_a_silent_wait(session_home: Path) -> None:
    with python(
        "tests.workers.ray_driver",
        "train",
        "local",
        environment={"TELESCOPE_HOME": str(session_home)},
    ) as child:
        assert child.line() == "trains"
        (raylet,) = [
            process for process in descendants(child.process.pid) if process.name() == "raylet"
        ]
        raylet.kill()
        line = ""
        # after what Ray itself has to say about it
        while "Ray's node on this machine has died" not in line:
            line = child.line(seconds=40)
        assert child.line(seconds=15) == "closed"


@pytest.mark.slow
def test_after_a_killed_driver_its_marker_finds_every_process(session_home: Path) -> None:
    environment = {
        "TELESCOPE_HOME": str(session_home),
        processes.MARKER: "test-of-a-killed-driver",
        "RAY_AUTH_MODE": "token",
    }
    with python("tests.workers.ray_driver", "train", "local", environment=environment) as child:
        assert child.line() == "trains"
        orphans = descendants(child.process.pid)
        assert len(orphans) > 5
        child.process.kill()
        child.process.wait()
        assert processes.end_all("test-of-a-killed-driver", 3.0)
        until_dead(orphans, seconds=0.5)


@pytest.mark.parametrize(
    ("total", "share", "demand", "fits"),
    [
        ({"CPU": 4.0}, None, Demand("CPU", 1.0), 4),
        ({"CPU": 8.0, "GPU": 2.0}, None, Demand("GPU", 1.0), 2),
        ({"CPU": 8.0, "GPU": 2.0}, 0.3, Demand("GPU", 0.3), 6),
        ({"CPU": 8.0, "GPU": 4.0}, 2.0, Demand("GPU", 2.0), 2),
        ({"CPU": 8.0, "GPU": 4.0}, 0.0, Demand("CPU", 1.0), 8),
        ({}, None, Demand("CPU", 1.0), 0),
        ({"CPU": 8.0}, 1.0, Demand("GPU", 1.0), 0),
    ],
)
def test_a_worker_takes_a_gpu_or_a_share_of_one_if_the_cluster_has_any(
    total: dict[str, float], share: float | None, demand: Demand, fits: int
) -> None:
    assert Demand.suited(total, share) == demand
    assert demand.fits(total) == fits


def test_a_shortage_names_the_demand_the_free_share_and_whether_it_can_end() -> None:
    assert Demand("GPU", 1.0).shortage({"CPU": 8.0}, {"CPU": 8.0}) == (
        "a worker asks for 1 GPU, but this Ray cluster has 0 GPU in total; "
        "add a node with GPUs, or set TELESCOPE_GPUS_PER_WORKER=0 to train on CPUs"
    )
    assert Demand("GPU", 2.0).shortage({"GPU": 1.0}, {"GPU": 1.0}) == (
        "a worker asks for 2 GPU, but this Ray cluster has 1 GPU in total; "
        "add a node with GPUs, or lower TELESCOPE_GPUS_PER_WORKER"
    )
    assert Demand("CPU", 1.0).shortage({}, {}) == (
        "a worker asks for 1 CPU, but this Ray cluster has 0 CPU in total; add a node with CPUs"
    )
    assert Demand("CPU", 1.0).shortage({"CPU": 8.0}, {"CPU": 0.5}) == (
        "a worker asks for 1 CPU; 0.5 of the cluster's 8 CPU are free; the rest is in use"
    )
    assert Demand("GPU", 2.0).shortage({"GPU": 4.0}, {"GPU": 2.0}) == (
        "a worker asks for 2 GPU; 2 of the cluster's 4 GPU are free; "
        "a worker's process is slow to start, or no node has 2 free"
    )
    assert Demand("GPU", 0.5).shortage({"GPU": 2.0}, {"GPU": 0.5}) == (
        "a worker asks for 0.5 GPU; 0.5 of the cluster's 2 GPU are free; "
        "a worker's process is slow to start, or no GPU has this share free"
    )
