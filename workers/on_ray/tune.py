"""The executor that runs trials on Ray Tune, so that Tune's loggers receive the curves.

It differs from the executor of `workers.on_ray.actors` in two ways: Ray Tune manages the workers,
and each trial is trained alone. The other executor is faster (docs/adr/0012). Tune runs trials in
experiments. A searcher gives Tune the assignments (attempts at trials) from the desk, which is the
executor's queue (`workers.desk`). A `Trainable` in a Ray actor (a process of Ray that holds one
object) trains the assignments, one after the other. A callback passes their events to the desk
(`workers.on_ray.experiment`).

The code relies on observed properties of Tune 2.60:

- Tune starts workers only for trials. An experiment therefore begins with a warm-up, a trial that
  has no assignment. The warm-up starts a worker and reports the worker's numerics (a string that
  names the version of torch, the device, and the revision of telescope's arithmetic).
- A trial cannot be stopped from outside. But Tune calls its scheduler at each result and in each
  turn of Tune's loop, and the scheduler may stop the trial.
- While other applications hold all CPUs, Tune waits without a message. Each turn therefore checks
  how long trials have waited.
- Tune keeps all trials of an experiment in memory. An experiment therefore ends after some hundreds
  of trials, and the next experiment follows.
"""

import atexit
import importlib
import os
import shutil
import tempfile
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.search import ConcurrencyLimiter

from telescope.errors import Unavailable, WorkersLost
from telescope.home import home
from workers.desk import Desk
from workers.interface import Assignment, Event, Finished
from workers.on_ray.cluster import LOCAL, Demand, Joining, RayCluster
from workers.on_ray.experiment import (
    ASSIGNMENT,
    DeskSearcher,
    EventReporter,
    Flight,
    Flights,
    StopScheduler,
)
from workers.on_ray.placement import Placement
from workers.on_ray.slot import STUCK_SECONDS, TRIALS_PER_WORKER
from workers.on_ray.worker import Worker, worker_environment
from workers.packs import Pack

CLOSE_SECONDS = 5.0  # longest wait of `close` until the experiment has ended
ENVIRONMENT = {  # environment variables of Tune in this process
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no CSV and JSON files
    "RAY_AIR_NEW_OUTPUT": "0",  # no tables
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # errors become events
    "TUNE_DISABLE_AUTO_INIT": "1",  # a call after the end of Ray starts no new Ray
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # the working directory stays the same
}
LOGGERS: dict[str, tuple[str, str, dict[str, str]]] = {  # name: package, class, options
    "tensorboard": ("tensorboardX", "ray.tune.logger.TBXLoggerCallback", {}),
    "mlflow": (
        "mlflow",
        "ray.air.integrations.mlflow.MLflowLoggerCallback",
        {"experiment_name": "telescope"},
    ),
    "wandb": ("wandb", "ray.air.integrations.wandb.WandbLoggerCallback", {"project": "telescope"}),
}


class Attempt(tune.Trainable):  # type: ignore[misc]
    """Trains assignments inside an actor. Each of Tune's steps returns one event."""

    _events: Any = None

    def setup(self, config: dict[str, Any], environment: Mapping[str, str]) -> None:
        """Construct the worker, once per process."""
        self._worker = Worker(environment)
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin the next assignment, even if the previous assignment has not finished.

        An empty `new_config` stands for the warm-up.
        """
        self.cleanup()
        if new_config:
            self._events = self._worker.run(Pack((ASSIGNMENT.validate_python(new_config),)))
        return True

    def step(self) -> dict[str, Any]:
        """Return the next event. In the warm-up, return the worker's numerics instead.

        Raises RuntimeError after the last event of an attempt that failed. This ends the process.
        """
        if self._events is None:
            return {"numerics": self._worker.ready(), "done": True}
        event: Event | None = next(self._events, None)
        if event is None:
            raise RuntimeError("a worker whose trial failed is not used again")
        finished = isinstance(event, Finished)
        if finished:
            self.cleanup()
        return {"event": event, "done": finished}

    def cleanup(self) -> None:
        """End the current trial, and restore the state of the process."""
        if self._events is not None:
            self._events.close()
        self._events = None


class TuneExecutor:
    """Runs trials by Ray Tune. The contract of its methods is in `workers.interface`."""

    def __init__(
        self,
        workers: int | None = None,
        *,
        joining: Joining = LOCAL,
        patience_seconds: float = 30.0,
        loggers: Sequence[str] = (),
    ) -> None:
        """Start a local Ray or join a cluster, and start the first experiment.

        `loggers` are names in LOGGERS. With loggers, Tune keeps its files, such as TensorBoard's
        logs, in TELESCOPE_HOME/tune. `workers.on_ray.actors.RayExecutor` describes the other
        parameters. Raises Unavailable if the package of a logger is missing, and in the cases of
        `RayCluster.connect`.
        """
        os.environ.update(ENVIRONMENT)
        self._loggers = [logger(name) for name in loggers]
        self._cluster = RayCluster.connect(joining, workers)
        self._workers = workers
        self._gpus_per_worker = joining.gpus_per_worker
        self._patience_seconds = patience_seconds
        self._desk = Desk()
        # shared by all experiments, since a shortage may outlast an experiment
        self._placement = Placement(self._desk)
        self._slots = 1
        self._begin()
        self._grow()
        self._broken: Exception | None = None
        self._closed = False
        self._folder = Path(tempfile.mkdtemp(prefix="telescope-"))  # Tune's files without loggers
        self._thread = threading.Thread(target=self._work, name="ray-tune", daemon=True)
        self._thread.start()
        # a process that ends with an exception must leave no processes of Ray behind
        atexit.register(self.close)

    @property
    def slots(self) -> int:
        """Number of workers. It grows when nodes join the cluster."""
        return self._slots

    @property
    def room(self) -> int:
        """Number of assignments to hold: one per worker, and one that waits."""
        return self._slots + 1

    @property
    def numerics(self) -> str | None:
        """Numerics that a worker of the current experiment reported last; None before a report."""
        return self._flights.numerics

    def submit(self, *assignments: Assignment) -> None:
        """Queue the assignments for the next free workers."""
        self._desk.submit(*assignments)

    def stop(self, trial_id: int) -> None:
        """End a trial: at its next event if it runs, otherwise at once or in Tune's next turn.

        If the trial has not ended after `STUCK_SECONDS`, its worker is killed. Before the trial
        begins, its worker is not known, so a worker that hangs then is not killed.
        """
        self._desk.stop(trial_id)
        if flight := self._flights.of(trial_id):
            timer = threading.Timer(STUCK_SECONDS, self._kill_stuck, (flight,))
            timer.daemon = True
            timer.start()

    def events(self, timeout: float) -> Sequence[Event]:
        """Return the events since the last call; wait up to `timeout` seconds for the first.

        Raises WorkersLost if Tune has failed, or if Ray's head process or Ray's node on this
        machine is gone.
        """
        if not self._closed:
            self._require_ray()
        return self._desk.events(timeout)

    def close(self) -> None:
        """End the experiment and all processes of a local Ray. Further calls do nothing."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        self._flights.over = True  # before the desk wakes threads that read it
        self._desk.close()
        self._thread.join(CLOSE_SECONDS)
        self._cluster.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _demand(self) -> Demand:
        """Return the resources that a worker needs in the cluster's present state."""
        return Demand.suited(ray.cluster_resources(), self._gpus_per_worker)

    def _begin(self) -> None:
        """Prepare the next experiment."""
        self._flights = Flights(self._desk, self._placement, self._demand(), self._patience_seconds)
        self._limiter = ConcurrencyLimiter(DeskSearcher(self._flights), self._slots)

    def _work(self) -> None:
        """Run one experiment after another until the desk closes."""
        try:
            while not self._desk.closed:
                self._run()
                self._begin()
        # Ray is gone, a logger failed, or this code has a bug; `events` then raises WorkersLost
        except Exception as error:
            self._broken = error

    def _run(self) -> None:
        flights = self._flights
        tune.run(
            tune.with_parameters(Attempt, environment=worker_environment()),
            name=f"telescope-{datetime.now():%Y%m%d-%H%M%S}",
            search_alg=self._limiter,
            scheduler=StopScheduler(flights),
            callbacks=[EventReporter(flights, self._loggers)],
            num_samples=TRIALS_PER_WORKER,
            resources_per_trial={"cpu": 0.0, "gpu": 0.0}
            | {flights.demand.resource.lower(): flights.demand.amount},
            reuse_actors=True,
            raise_on_failed_trial=False,
            storage_path=str(home().resolve() / "tune" if self._loggers else self._folder),
            trial_name_creator=_name,
            trial_dirname_creator=_name,
            verbose=0,
        )

    def _grow(self) -> None:
        """Run more trials at once if more workers fit. End the experiment if the resources that a
        worker needs have changed.
        """
        demand = self._demand()
        fitting = demand.fits(ray.cluster_resources())
        self._slots = max(self._slots, min(self._workers or fitting, fitting))
        self._limiter.set_max_concurrency(self._slots)
        if demand != self._flights.demand:
            self._flights.over = True

    def _kill_stuck(self, flight: Flight) -> None:
        if flight is self._flights.of(flight.trial_id) and flight.actor is not None:
            ray.kill(flight.actor)

    def _require_ray(self) -> None:
        """Raise WorkersLost if Tune or Ray has failed. Otherwise, use nodes that have joined the
        cluster.
        """
        if self._broken:
            # the last line of Tune's errors is the cause
            reason = str(self._broken).strip().splitlines()[-1:] or [type(self._broken).__name__]
            raise WorkersLost(f"Ray Tune failed: {reason[0]}") from self._broken
        if self._cluster.check_alive():
            self._grow()


def logger(name: str) -> Any:
    """Create a logger of Tune. Raises Unavailable if its package is not installed."""
    package, path, options = LOGGERS[name]
    if find_spec(package) is None:
        problem = f"TELESCOPE_TUNE_LOGGERS names {name}, but its package is missing"
        where = "in telescope's environment"
        raise Unavailable(
            f"{problem}; install {package} {where}, or remove {name} from this setting"
        )
    module, _, class_name = path.rpartition(".")
    return getattr(importlib.import_module(module), class_name)(**options)


def _name(trial: Any) -> str:
    """Return the name of a trial for loggers and for the trial's folder."""
    if not trial.config:
        return "warm-up"
    return f"trial-{trial.config['trial_id']}-attempt-{trial.config['attempt']}"
