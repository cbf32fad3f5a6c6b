"""The executor that runs trials on Ray actors.

A Ray actor is a process of Ray that holds one object, here a worker. Each slot of the executor
looks after one actor at a time, and each actor runs many trials (`workers.on_ray.slot`). The actors
run in a local Ray that the executor starts, or in a Ray cluster that the executor joins
(`workers.on_ray.cluster`).
"""

import atexit
from collections.abc import Sequence

import ray

from telescope.errors import WorkersLost
from workers.desk import Desk
from workers.interface import Assignment, Event
from workers.on_ray.cluster import LOCAL, Demand, Joining, RayCluster
from workers.on_ray.placement import Placement
from workers.on_ray.slot import Shared, Slot, first_line
from workers.packs import MOST_TOGETHER, Packs

JOIN_SECONDS = 1.0  # longest wait for the end of a slot's thread


class RayExecutor:
    """Runs trials on Ray actors. The contract of its methods is in `workers.interface`."""

    def __init__(
        self,
        workers: int | None = None,
        *,
        joining: Joining = LOCAL,
        patience_seconds: float = 30.0,
    ) -> None:
        """Start a local Ray or join a cluster, and start the actors, but do not wait for them.

        `workers` is the largest number of workers; by default, there are as many as fit. A worker
        that has not started after `patience_seconds` is reported as missing.

        Raises Unavailable as `RayCluster.connect` does.
        """
        self._cluster = RayCluster.connect(joining, workers)
        self._workers, self._gpus_per_worker = workers, joining.gpus_per_worker
        self._desk = Desk()
        packs = Packs(self._desk, lambda: self.slots)
        placement = Placement(self._desk)
        self._shared = Shared(self._desk, packs, self._demand, placement, patience_seconds)
        self._slots: list[Slot] = []
        self._grow()
        self._closed = False
        # a process that ends with an exception must leave no processes of Ray behind
        atexit.register(self.close)

    @property
    def slots(self) -> int:
        """Number of workers. It grows when nodes join the cluster."""
        return len(self._slots)

    @property
    def room(self) -> int:
        """Number of assignments that the executor should hold at a time.

        The number allows two of the largest packs per worker: one in training, and one that waits.
        A pack is a group of trials that are trained together.
        """
        return 2 * self.slots * MOST_TOGETHER

    @property
    def numerics(self) -> str | None:
        """Numerics of the newest slot that has them; None until the first worker is ready.

        Numerics are a string that names a worker's version of torch, its device, and the revision
        of telescope's arithmetic. In a cluster with several kinds of device, other workers may have
        other numerics.
        """
        return next((slot.numerics for slot in reversed(self._slots) if slot.numerics), None)

    def submit(self, *assignments: Assignment) -> None:
        """Queue the assignments for the next free workers."""
        self._desk.submit(*assignments)

    def stop(self, trial_id: int) -> None:
        """End a trial: at once if it is queued, or at its next step if it runs.

        A worker is killed if it does not end the trial within `slot.STUCK_SECONDS`. A worker that
        has not begun the trial, but measures how to train it fastest, is killed within a second.
        """
        self._desk.stop(trial_id)
        for slot in self._slots:
            slot.cancel(trial_id)

    def events(self, timeout: float) -> Sequence[Event]:
        """Return the events since the last call; wait up to `timeout` seconds for the first.

        Raises WorkersLost if Ray's head process or Ray's node on this machine is gone, or if the
        thread of a slot has failed.
        """
        if not self._closed:
            self._require_ray()
        return self._desk.events(timeout)

    def close(self) -> None:
        """End all workers, and all processes of a local Ray. Later calls of `close` do nothing."""
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
        """Return the resources that a worker needs in the cluster's present state."""
        return Demand.suited(ray.cluster_resources(), self._gpus_per_worker)

    def _grow(self) -> None:
        """Open a slot for every worker that fits, up to the largest number of workers.

        There is at least one slot, even if no worker fits.
        """
        fitting = max(1, self._demand().fits(ray.cluster_resources()))
        for index in range(len(self._slots), min(self._workers or fitting, fitting)):
            self._slots.append(Slot(index, self._shared))

    def _require_ray(self) -> None:
        """Raise WorkersLost if Ray or the thread of a slot has failed. Otherwise, open a slot for
        each further worker that fits.
        """
        broken = next((slot.broken for slot in self._slots if slot.broken), None)
        if broken:
            raise WorkersLost(f"Ray failed: {first_line(broken)}") from broken
        if self._cluster.check_alive():
            self._grow()
