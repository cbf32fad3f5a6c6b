"""The Ray cluster that workers run on: the connection to it, its size, and whether it is alive.

`RayCluster.connect` starts a local Ray or joins a running cluster. `close` disconnects, and ends a
local Ray with all its processes. A `Demand` states what one worker needs from the cluster: one CPU,
a share of a GPU, or one or more GPUs.

The main differences between a local Ray and Ray's defaults are these:

- The authentication token is in an environment variable instead of a file in the user's home.
- There are no usage reports and no dashboard. The object store is small.
- The output of workers is not printed.
- The temporary folder is deleted when the local Ray ends.
- This process keeps its own handler of SIGTERM.
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

LOCAL_MARKER = "TELESCOPE_LOCAL_RAY"  # environment variable that marks the processes of a local Ray
# Size of a local Ray's object store. The events that workers send are small enough to be sent
# without the store. By default, Ray would reserve 30 % of the memory.
OBJECT_STORE_BYTES = 100_000_000
SHUTDOWN_SECONDS = 3.0  # longest wait for Ray's shutdown, and then again for its processes to die
CONNECT_SECONDS = 5.0  # longest wait for a cluster's address to answer
# interval between checks of Ray's head (its central process) and of Ray's node on this machine
CHECK_SECONDS = 2.0
# Ray counts as lost if no check has succeeded for this many seconds. Ray itself would end this
# process 60 s after the death of the head.
HEAD_LOST_SECONDS = 8.0
# Longest path of a temporary folder, in characters. Ray appends some 65 characters to form the path
# of a socket, which may have at most 107 characters.
LONGEST_TEMPORARY_PATH = 40


@dataclass(frozen=True)
class Demand:
    """Resources that one worker needs."""

    resource: str  # Ray's name of the resource: CPU or GPU
    amount: float  # number of CPUs or GPUs; a fraction of a GPU is possible

    @classmethod
    def suited(cls, total: Mapping[str, float], gpus_per_worker: float | None) -> "Demand":
        """Return the demand of a worker in a cluster with `total` resources.

        The worker needs `gpus_per_worker` GPUs, or one CPU if `gpus_per_worker` is 0. If
        `gpus_per_worker` is None, the worker needs one GPU if the cluster has GPUs, and otherwise
        one CPU.
        """
        gpus = (1.0 if total.get("GPU", 0) else 0.0) if gpus_per_worker is None else gpus_per_worker
        return cls("GPU", gpus) if gpus else cls("CPU", 1.0)

    @property
    def options(self) -> dict[str, float]:
        """The demand as options of a Ray actor."""
        return {"num_cpus": 0.0, "num_gpus": 0.0, f"num_{self.resource.lower()}s": self.amount}

    def fits(self, total: Mapping[str, float]) -> int:
        """Return the number of workers that the cluster could hold if it were empty.

        If a worker needs several GPUs, fewer workers may fit in reality, since all GPUs of a worker
        must be in one node.
        """
        available = total.get(self.resource, 0.0)
        per_device = int(1 / self.amount + 1e-9)  # 0 if a worker needs more than one device
        return int(available) * per_device if per_device else int(available / self.amount)

    def shortage(self, total: Mapping[str, float], free: Mapping[str, float]) -> str:
        """Describe why a worker is missing. `total` and `free` are resources of the cluster."""
        demand = f"a worker asks for {self.amount:g} {self.resource}"
        total_amount = total.get(self.resource, 0.0)
        if not self.fits(total):
            remedy = "add a node with CPUs"
            if self.resource == "GPU":
                change = "lower TELESCOPE_GPUS_PER_WORKER"
                if not total_amount:
                    change = "set TELESCOPE_GPUS_PER_WORKER=0 to train on CPUs"
                remedy = f"add a node with GPUs, or {change}"
            supply = f"{total_amount:g} {self.resource} in total"
            return f"{demand}, but this Ray cluster has {supply}; {remedy}"
        unused = free.get(self.resource, 0.0)
        cause = "a worker's process is slow to start"
        if unused < self.amount:
            cause = "the rest is in use"
        elif self.amount > 1:
            cause += f", or no node has {self.amount:g} free"
        elif self.amount < 1:
            cause += f", or no {self.resource} has this share free"
        supply = f"{unused:g} of the cluster's {total_amount:g} {self.resource} are free"
        return f"{demand}; {supply}; {cause}"


@dataclass(frozen=True)
class Joining:
    """How to connect to Ray, and what each worker needs."""

    # Address of a cluster. None means the address in RAY_ADDRESS, or a local Ray if RAY_ADDRESS is
    # not set.
    address: str | None = None
    shared_storage: bool = False  # True if all nodes see checkpoints and corpora at the same paths
    # GPUs per worker, possibly a fraction. With 0, workers use CPUs. None means 1 if the cluster
    # has GPUs, otherwise 0.
    gpus_per_worker: float | None = None
    code: tuple[Path, ...] = ()  # packages and modules that workers must be able to import


LOCAL = Joining()


class RayCluster:
    """The Ray cluster that this process is connected to."""

    def __init__(self, marker: str, folder: Path | None) -> None:
        self._marker = marker  # value of LOCAL_MARKER; empty for a cluster that was joined
        self.folder = folder  # temporary folder of a local Ray; None for a cluster that was joined
        context = ray.get_runtime_context()
        self.address: str = context.gcs_address
        self._node: str = context.get_node_id()
        self._last_response = self._next_check = time.monotonic()

    @classmethod
    def connect(cls, joining: Joining, workers: int | None) -> "RayCluster":
        """Join a cluster, or start a local Ray.

        A local Ray has `workers` CPUs; by default, it has all CPUs of this machine. The code in
        `joining` is sent to the workers. Raises Unavailable if Ray cannot be joined or started, or
        if workers could run on other nodes but `joining.shared_storage` is false.
        """
        address = joining.address or os.environ.get("RAY_ADDRESS") or None
        # otherwise a thread that calls Ray after the shutdown would start another Ray
        auto_init_hook.enable_auto_connect = False
        options: dict[str, Any] = {}
        if joining.code:
            options["runtime_env"] = {"py_modules": [str(path) for path in joining.code]}
        cluster = cls._start(workers, options) if address is None else cls._join(address, options)
        other_nodes = {
            node["NodeID"]
            for node in ray.nodes()
            if node["Alive"] and {"CPU", "GPU"} & node["Resources"].keys()
        }
        other_nodes -= {ray.get_runtime_context().get_node_id()}
        if other_nodes and not joining.shared_storage:
            cluster.close()
            raise Unavailable(
                f"the Ray cluster at {address} would place workers on {len(other_nodes)} other "
                "node(s), but checkpoints and corpora lie on this machine's disk; put "
                "TELESCOPE_HOME on storage that all nodes share and set "
                "TELESCOPE_SHARED_STORAGE=true, or use a local Ray"
            )
        return cluster

    @classmethod
    def _join(cls, address: str, options: Mapping[str, Any]) -> "RayCluster":
        try:
            # without this check, Ray would try to connect for minutes, and then end this process
            if ":" in address and not _answers(address, CONNECT_SECONDS):
                raise ConnectionError("nothing answers at this address")
            with _own_signals():
                ray.init(
                    address=address, log_to_driver=False, logging_level=logging.ERROR, **options
                )
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise Unavailable(f"cannot join the Ray cluster at {address}: {error}") from error
        return cls("", None)

    @classmethod
    def _start(cls, workers: int | None, options: Mapping[str, Any]) -> "RayCluster":
        root = tempfile.gettempdir()
        if len(root) >= LONGEST_TEMPORARY_PATH - 20:
            root = "/tmp"  # noqa: S108 (mkdtemp makes a private folder)
        folder = Path(tempfile.mkdtemp(prefix="telescope-", dir=root))
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
                    **options,
                )
            except Exception as error:
                end_all(marker, SHUTDOWN_SECONDS, LOCAL_MARKER)
                raise Unavailable(f"a local Ray did not start: {error}") from error
        return cls(marker, folder)

    def alive(self, seconds: float = 2.0) -> bool:
        """True if Ray's head answers within `seconds` and Ray's node on this machine is alive.

        If the head or the node is dead, Ray can start no workers. Ray itself notices a dead head
        after 60 s, and then ends this process. Ray does not report a dead node.
        """
        if not _answers(self.address, seconds):
            return False
        return any(node["NodeID"] == self._node and node["Alive"] for node in ray.nodes())

    def check_alive(self) -> bool:
        """Check the cluster if a check is due. Return True if a check was made and succeeded.

        Raises WorkersLost if no check has succeeded for `HEAD_LOST_SECONDS`.
        """
        time_now = time.monotonic()
        if time_now < self._next_check:
            return False
        self._next_check = time_now + CHECK_SECONDS
        if self.alive():
            self._last_response = time_now
            return True
        if time_now - self._last_response > HEAD_LOST_SECONDS:
            head = f"Ray's head at {self.address} does not answer"
            raise WorkersLost(f"{head}, or Ray's node on this machine has died")
        return False

    def close(self) -> None:
        """Disconnect from Ray. End all processes of a local Ray, and delete its folder."""
        shutdown = threading.Thread(
            target=ray.shutdown, kwargs={"wait_for_processes": True}, daemon=True
        )
        shutdown.start()  # in a thread, since ray.shutdown may wait too long for a dead head
        shutdown.join(SHUTDOWN_SECONDS)
        if self.folder is not None:
            end_all(self._marker, SHUTDOWN_SECONDS, LOCAL_MARKER)
            shutil.rmtree(self.folder, ignore_errors=True)


def _answers(address: str, seconds: float) -> bool:
    """True if a server at `address` (host:port) accepts a connection within `seconds`."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), seconds).close()
    except (OSError, ValueError):
        return False
    return True


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Set environment variables for processes that are started within the context."""
    previous = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in previous.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep the handler of SIGTERM, which Ray replaces when it starts in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
