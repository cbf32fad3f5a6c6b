"""How do trials run on Ray?

On bare actors, one per slot, warm before the first trial and after the last (`workers.ray_slot`), in a local Ray that starts by itself
or in a cluster that is joined (`workers.ray_cluster`). `RayExecutor` puts them together.
"""

import atexit
import os
import time
from collections.abc import Sequence

import ray

from telescope.errors import WorkersLost
from workers.desk import Desk
from workers.interface import Assignment, Event
from workers.ray_cluster import Cluster, Demand
from workers.ray_slot import Placement, Slot, first_line

LOOK_SECONDS = 2.0  # between looks at Ray's head
HEAD_LOST_SECONDS = 8.0  # after its last sign of life; Ray itself would end this process after 60
JOIN_SECONDS = 1.0


class RayExecutor:
    """Warm Ray actors; see `workers.interface` for what the four methods promise."""

    def __init__(
        self,
        workers: int | None = None,
        *,
        address: str | None = None,
        shared_storage: bool = False,
        gpus_per_worker: float | None = None,
        patience_seconds: float = 30.0,
    ) -> None:
        """Start a local Ray, or join the one at `address` (default: RAY_ADDRESS), and start the actors; does not wait for them.

        `workers`: at most so many, by default what fits. `shared_storage`: checkpoints and corpora lie where every node sees them.
        `gpus_per_worker`: a number or share; by default 1 where there are GPUs, and 0 makes CPU workers anywhere.
        """
        self._cluster = Cluster.connect(address or os.environ.get("RAY_ADDRESS") or None, workers, shared_storage)
        total = ray.cluster_resources()
        demand = Demand.suited(total, gpus_per_worker)
        fitting = max(1, demand.fits(total))  # one that never fits says so by a Waiting
        self.slots = min(workers or fitting, fitting)
        self._desk = Desk()
        placement = Placement(self._desk)
        self._slots = [Slot(index, self._desk, demand, placement, patience_seconds) for index in range(self.slots)]
        self._head_seen = self._next_look = time.monotonic()
        self._closed = False
        atexit.register(self.close)  # a process that ends by an error leaves nothing behind either

    def submit(self, assignment: Assignment) -> None:
        """Queue one attempt for the next free worker."""
        self._desk.submit(assignment)

    def stop(self, trial_id: int) -> None:
        """End a trial: at once when it is queued, at its next point when it runs."""
        self._desk.stop(trial_id)
        for slot in self._slots:
            slot.cancel(trial_id)

    def events(self, timeout: float) -> Sequence[Event]:
        """What happened, waiting up to `timeout` seconds for the first of it; WorkersLost when Ray's head is gone."""
        if not self._closed:
            self._require_ray()
        return self._desk.events(timeout)

    def close(self) -> None:
        """End all workers, and a Ray that was started here with every process of it; idempotent."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        self._desk.close()
        for slot in self._slots:
            slot.kill()
        for slot in self._slots:
            slot.thread.join(JOIN_SECONDS)
        self._cluster.close()

    def _require_ray(self) -> None:
        broken = next((slot.broken for slot in self._slots if slot.broken), None)
        if broken:
            raise WorkersLost(f"Ray failed: {first_line(broken)}") from broken
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + LOOK_SECONDS
        if self._cluster.alive():
            self._head_seen = now
        elif now - self._head_seen > HEAD_LOST_SECONDS:
            raise WorkersLost(f"Ray's head at {self._cluster.address} does not answer, or this machine's node of it has died")
