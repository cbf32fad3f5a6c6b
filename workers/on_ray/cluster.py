"""The Ray cluster that workers run on: connection, capacity, and liveness.

`RayCluster.connect` starts a local Ray or joins a running one; `close` ends what was started, with
all its processes. `Demand` is what one worker needs from the cluster: a CPU, or a share of a GPU if
there are any.

A local Ray differs from Ray's defaults: its own token in memory instead of a file in the user's
home, no usage reports, no dashboard, its own folder that is deleted when it ends, and SIGTERM stays
with the caller.
"""

import logging
import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray._private import auto_init_hook

from telescope.errors import Unavailable, WorkersLost
from workers.processes import end_all

LOCAL_MARKER = "TELESCOPE_LOCAL_RAY"  # marks the environment of a local Ray's processes
# events travel inline; Ray's default would claim 30 % of the memory
OBJECT_STORE_BYTES = 100_000_000
SHUTDOWN_SECONDS = 3.0
CONNECT_SECONDS = 5.0
LOOK_SECONDS = 2.0  # between checks of Ray's head
HEAD_LOST_SECONDS = 8.0  # after its last sign of life; Ray itself would end this process after 60
LONGEST_TEMPORARY_PATH = 40  # Ray appends some 65 characters, and a socket's path ends at 107


@dataclass(frozen=True)
class Demand:
    """Resources that one worker needs."""

    resource: str  # CPU or GPU, Ray's names
    amount: float

    @classmethod
    def suited(cls, total: Mapping[str, float], gpus_per_worker: float | None) -> "Demand":
        """One GPU, or the given share, if the cluster has any; otherwise (or for a share of 0) one
        CPU."""
        gpus = (1.0 if total.get("GPU", 0) else 0.0) if gpus_per_worker is None else gpus_per_worker
        return cls("GPU", gpus) if gpus else cls("CPU", 1.0)

    @property
    def options(self) -> dict[str, float]:
        """Options of a Ray actor."""
        return {"num_cpus": 0.0, "num_gpus": 0.0, f"num_{self.resource.lower()}s": self.amount}

    def fits(self, total: Mapping[str, float]) -> int:
        """The number of such workers that the cluster could hold if it were empty."""
        available = total.get(self.resource, 0.0)
        per_device = int(1 / self.amount + 1e-9)  # a share never spans two GPUs
        return int(available) * per_device if per_device else int(available / self.amount)

    def shortage(self, total: Mapping[str, float], free: Mapping[str, float]) -> str:
        """The reason why a worker is not placed: what it needs, what is free, what there is."""
        demand = f"a worker asks for {self.amount:g} {self.resource}"
        has = total.get(self.resource, 0.0)
        if not self.fits(total):
            return f"{demand}, which this Ray cluster never has: {has:g} {self.resource} in total; add a node or ask for less"
        unused = free.get(self.resource, 0.0)
        held = (
            "others hold the rest"
            if unused < self.amount
            else "a worker's process is slow to start"
        )
        return f"{demand}; {unused:g} of the cluster's {has:g} {self.resource} are free; {held}"


@dataclass(frozen=True)
class Joining:
    """Options of a driver that joins Ray, and the needs of its workers."""

    # of a cluster; by default RAY_ADDRESS, otherwise a local Ray is started
    address: str | None = None
    shared_storage: bool = False  # every node sees checkpoints and corpora under the same paths
    # a number or a share; by default 1 if there are GPUs; 0 makes CPU workers anywhere
    gpus_per_worker: float | None = None
    code: tuple[Path, ...] = ()  # packages and modules that workers must be able to import


LOCAL = Joining()


class RayCluster:
    """The Ray cluster whose driver is this process."""

    def __init__(self, marker: str, folder: Path | None) -> None:
        self._marker = marker
        self.folder = folder  # of a Ray that was started here; None if it was joined
        context = ray.get_runtime_context()
        self.address: str = context.gcs_address
        self._node: str = context.get_node_id()
        self._head_seen = self._next_look = time.monotonic()

    @classmethod
    def connect(cls, joining: Joining, workers: int | None) -> "RayCluster":
        """Join a cluster, or start a local Ray for `workers` CPU workers (default: one per core),
        and send the code to the workers."""
        address = joining.address or os.environ.get("RAY_ADDRESS") or None
        # otherwise a thread's late call after shutdown would start another Ray
        auto_init_hook.enable_auto_connect = False
        shared = (
            {"runtime_env": {"py_modules": [str(place) for place in joining.code]}}
            if joining.code
            else {}
        )
        cluster = cls._start(workers, shared) if address is None else cls._join(address, shared)
        away = {
            node["NodeID"]
            for node in ray.nodes()
            if node["Alive"] and {"CPU", "GPU"} & node["Resources"].keys()
        }
        away -= {ray.get_runtime_context().get_node_id()}
        if away and not joining.shared_storage:
            cluster.close()
            raise Unavailable(
                f"the Ray cluster at {address} would place workers on {len(away)} other node(s), "
                "but checkpoints and corpora lie on this machine's disk; put TELESCOPE_HOME on "
                "storage that all nodes share and set TELESCOPE_SHARED_STORAGE=true, or use a "
                "local Ray"
            )
        return cluster

    @classmethod
    def _join(cls, address: str, shared: Mapping[str, Any]) -> "RayCluster":
        try:
            # Ray would try for minutes, then end this process
            if ":" in address and not _answers(address, CONNECT_SECONDS):
                raise ConnectionError("nothing answers there")
            with _own_signals():
                ray.init(
                    address=address, log_to_driver=False, logging_level=logging.ERROR, **shared
                )
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise Unavailable(f"cannot join the Ray cluster at {address}: {error}") from error
        return cls("", None)

    @classmethod
    def _start(cls, workers: int | None, shared: Mapping[str, Any]) -> "RayCluster":
        root = tempfile.gettempdir()
        folder = Path(
            tempfile.mkdtemp(
                prefix="telescope-", dir=root if len(root) < LONGEST_TEMPORARY_PATH - 20 else "/tmp"
            )
        )
        marker = secrets.token_hex(16)
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        with (
            _environment(SPT_NOENV="1", RAY_USAGE_STATS_ENABLED="0", **{LOCAL_MARKER: marker}),
            _own_signals(),
        ):
            try:
                ray.init(
                    address="local",
                    num_cpus=workers,
                    object_store_memory=OBJECT_STORE_BYTES,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    _temp_dir=str(folder),
                    **shared,
                )
            except Exception as error:
                end_all(marker, SHUTDOWN_SECONDS, LOCAL_MARKER)
                raise Unavailable(f"a local Ray did not start: {error}") from error
        return cls(marker, folder)

    def alive(self, seconds: float = 2.0) -> bool:
        """True if the GCS answers and this driver's node is alive; without both nothing can be
        scheduled.

        Ray itself notices a dead head after 60 s, and then ends this process; it never reports a
        dead node.
        """
        if not _answers(self.address, seconds):
            return False
        return any(node["NodeID"] == self._node and node["Alive"] for node in ray.nodes())

    def looked(self) -> bool:
        """True if it is time for a check and the cluster is alive. Raises WorkersLost if there has
        been no sign of life for long."""
        now = time.monotonic()
        if now < self._next_look:
            return False
        self._next_look = now + LOOK_SECONDS
        if self.alive():
            self._head_seen = now
            return True
        if now - self._head_seen > HEAD_LOST_SECONDS:
            raise WorkersLost(
                f"Ray's head at {self.address} does not answer, or this machine's node of it has died"
            )
        return False

    def close(self) -> None:
        """Disconnect, and end every process of a Ray that was started here."""
        ending = threading.Thread(
            target=ray.shutdown, kwargs={"wait_for_processes": True}, daemon=True
        )
        ending.start()  # in a thread, since it may wait for a head that is gone
        ending.join(SHUTDOWN_SECONDS)
        if self.folder is not None:
            end_all(self._marker, SHUTDOWN_SECONDS, LOCAL_MARKER)
            shutil.rmtree(self.folder, ignore_errors=True)


def _answers(address: str, seconds: float) -> bool:
    """True if a server listens at host:port."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), seconds).close()
    except (OSError, ValueError):
        return False
    return True


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Environment variables that processes started inside inherit."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@contextmanager
def _own_signals() -> Iterator[None]:
    """Restore SIGTERM, which Ray takes over when it starts in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
