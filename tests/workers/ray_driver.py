"""A driver of Ray for tests that kill it or need a second driver.

    python -m tests.workers.ray_driver hold|train ADDRESS

`hold` fills the cluster with actors of one CPU; `train` trains an endless trial with a RayExecutor
(on a local Ray if the address is `local`) until Ray is lost. Both print a line when they are ready,
and end when standard input closes.
"""

import os
import sys
import tempfile
import threading
from pathlib import Path

import ray

from telescope.errors import WorkersLost
from tests.telescope.small import trial
from tests.workers.driving import LONG, Driver
from workers.on_ray.actors import RayExecutor
from workers.on_ray.cluster import Joining


class Holder:
    def ready(self) -> None:
        """Return once the actor holds its CPU."""


def hold(address: str) -> None:
    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    holders = [
        ray.remote(num_cpus=1)(Holder).remote() for _ in range(int(ray.cluster_resources()["CPU"]))
    ]
    ray.get([holder.ready.remote() for holder in holders])
    print("held", flush=True)
    sys.stdin.read()


def train(address: str) -> None:
    executor = RayExecutor(
        2, joining=Joining(None if address == "local" else address, shared_storage=True)
    )
    driver = Driver(executor, Path(tempfile.mkdtemp()))
    driver.until_points(driver.submit(trial(horizon=LONG)))
    print("trains", flush=True)
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start()
    try:
        while True:
            executor.events(0.2)
    except WorkersLost as error:
        print(error.message, flush=True)
    executor.close()
    print("closed", flush=True)


if __name__ == "__main__":
    {"hold": hold, "train": train}[sys.argv[1]](sys.argv[2])
