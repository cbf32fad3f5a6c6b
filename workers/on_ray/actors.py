"""How do trials run on Ray?

On bare actors, one per slot, warm before the first trial and after the last
(`workers.on_ray.slot`), in a local Ray that starts by itself or in a cluster that is joined
(`workers.on_ray.cluster`). `RayExecutor` puts them together.
"""

import atexit
from collections.abc import Sequence

import ray

from telescope.errors import WorkersLost
from workers.desk import Desk
from workers.interface import Assignment, Event
from workers.on_ray.cluster import LOCAL, Cluster, Demand, Joining
from workers.on_ray.slot import Placement, Shared, Slot, first_line
from workers.packs import MOST_TOGETHER, Packs

JOIN_SECONDS = 1.0


class RayExecutor:
    """Warm Ray actors; see `workers.interface` for what the four methods promise."""

    def __init__(
        self,
        workers: int | None = None,
        *,
        joining: Joining = LOCAL,
        patience_seconds: float = 30.0,
    ) -> None:
        """Start a local Ray, or join one, and start the actors, without waiting for them.

        `workers`: at most so many; by default as many as fit.
        """
        self._cluster = Cluster.connect(joining, workers)
        self._workers, self._gpus_per_worker = workers, joining.gpus_per_worker
        self._desk = Desk()
        packs = Packs(self._desk, lambda: self.slots)
        self._shared = Shared(
            self._desk, packs, self._demand, Placement(self._desk), patience_seconds
        )
        self._slots: list[Slot] = []
        self._grow()
        self._closed = False
        atexit.register(self.close)  # a process that ends by an error leaves nothing behind either

    @property
    def slots(self) -> int:
        """Workers that train at once; more when nodes join."""
        return len(self._slots)

    @property
    def room(self) -> int:
        """Two packs for each worker: they may all end at once."""
        return 2 * self.slots * MOST_TOGETHER

    @property
    def numerics(self) -> str | None:
        """What the newest slot with a warm worker computes with; a cluster of several kinds of
        device may have others too."""
        return next((slot.numerics for slot in reversed(self._slots) if slot.numerics), None)

    def submit(self, *assignments: Assignment) -> None:
        """Queue one attempt at each for the next free workers."""
        self._desk.submit(*assignments)

    def stop(self, trial_id: int) -> None:
        """End a trial: at once when it is queued, at its next step when it runs."""
        self._desk.stop(trial_id)
        for slot in self._slots:
            slot.cancel(trial_id)

    def events(self, timeout: float) -> Sequence[Event]:
        """What happened, waiting up to `timeout` seconds for the first of it; WorkersLost when
        Ray's head is gone."""
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

    def _demand(self) -> Demand:
        """What a worker asks for in the cluster as it is now."""
        return Demand.suited(ray.cluster_resources(), self._gpus_per_worker)

    def _grow(self) -> None:
        """Open a slot for every worker that fits; one at least, which says by a `Waiting` that it
        lacks a place."""
        fitting = max(1, self._demand().fits(ray.cluster_resources()))
        for index in range(len(self._slots), min(self._workers or fitting, fitting)):
            self._slots.append(Slot(index, self._shared))

    def _require_ray(self) -> None:
        broken = next((slot.broken for slot in self._slots if slot.broken), None)
        if broken:
            raise WorkersLost(f"Ray failed: {first_line(broken)}") from broken
        if self._cluster.looked():
            self._grow()
