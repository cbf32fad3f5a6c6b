"""Trials on Ray actors.

Each slot is an actor without any Ray library on top, warm before the first trial and after the last
(`workers.on_ray.slot`), in a local Ray that starts by itself or in a cluster that is joined
(`workers.on_ray.cluster`). `RayExecutor` combines them.
"""

import atexit
from collections.abc import Sequence

import ray

from telescope.errors import WorkersLost
from workers.desk import Desk
from workers.interface import Assignment, Event
from workers.on_ray.cluster import LOCAL, Demand, Joining, RayCluster
from workers.on_ray.slot import Placement, Shared, Slot, first_line
from workers.packs import MOST_TOGETHER, Packs

JOIN_SECONDS = 1.0


class RayExecutor:
    """Warm Ray actors; `workers.interface` has the contract of the four methods."""

    def __init__(
        self,
        workers: int | None = None,
        *,
        joining: Joining = LOCAL,
        patience_seconds: float = 30.0,
    ) -> None:
        """Start a local Ray, or join one, and start the actors, without waiting for them.

        `workers`: the largest number of workers; by default as many as fit.
        """
        self._cluster = RayCluster.connect(joining, workers)
        self._workers, self._gpus_per_worker = workers, joining.gpus_per_worker
        self._desk = Desk()
        packs = Packs(self._desk, lambda: self.slots)
        self._shared = Shared(
            self._desk, packs, self._demand, Placement(self._desk), patience_seconds
        )
        self._slots: list[Slot] = []
        self._grow()
        self._closed = False
        # so that a process that ends by an error leaves nothing behind either
        atexit.register(self.close)

    @property
    def slots(self) -> int:
        """Number of workers that train at once; more when nodes join."""
        return len(self._slots)

    @property
    def room(self) -> int:
        """Two packs for each worker: all packs may end at once."""
        return 2 * self.slots * MOST_TOGETHER

    @property
    def numerics(self) -> str | None:
        """Arithmetic of the newest slot with a warm worker; a cluster with several kinds of device
        may have others too."""
        return next((slot.numerics for slot in reversed(self._slots) if slot.numerics), None)

    def submit(self, *assignments: Assignment) -> None:
        """Queue one attempt at each for the next free workers."""
        self._desk.submit(*assignments)

    def stop(self, trial_id: int) -> None:
        """End a trial: at once if it is queued, at its next step if it runs."""
        self._desk.stop(trial_id)
        for slot in self._slots:
            slot.cancel(trial_id)

    def events(self, timeout: float) -> Sequence[Event]:
        """Events since the last call, waiting up to `timeout` seconds for the first. Raises
        WorkersLost if Ray's head is gone."""
        if not self._closed:
            self._require_ray()
        return self._desk.events(timeout)

    def close(self) -> None:
        """End all workers and, with all its processes, a Ray that was started here; idempotent."""
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

    def _demand(self) -> Demand:
        """The resources that a worker needs in the cluster's present state."""
        return Demand.suited(ray.cluster_resources(), self._gpus_per_worker)

    def _grow(self) -> None:
        """Open a slot for every worker that fits; at least one slot, which emits a `Waiting` if it
        cannot be placed."""
        fitting = max(1, self._demand().fits(ray.cluster_resources()))
        for index in range(len(self._slots), min(self._workers or fitting, fitting)):
            self._slots.append(Slot(index, self._shared))

    def _require_ray(self) -> None:
        broken = next((slot.broken for slot in self._slots if slot.broken), None)
        if broken:
            raise WorkersLost(f"Ray failed: {first_line(broken)}") from broken
        if self._cluster.looked():
            self._grow()
