"""The class that runs inside a Ray actor, and the actor's environment variables.

A Ray actor is a process of Ray that holds one object, here a `Worker`. The worker imports torch and
runs a first computation before trials arrive. A *pack* is a group of trials that are trained
together. Each call of `Worker.run` trains one pack. Ray streams the events that this call yields.
"""

import os
from collections.abc import Iterator, Mapping

import ray

from telescope.home import home
from telescope.models import factory
from telescope.train.compiled import COMPILE
from telescope.train.program import Program
from telescope.trials.spec import TrialSpec
from workers.interface import CHECKPOINT_SECONDS, Assignment, Event
from workers.packs import Pack

# Name of the actor's second thread, which answers calls while the first thread runs a pack. Ray's
# term for such a thread is a concurrency group.
ASIDE = "aside"


class Worker:
    """Runs trials inside an actor. Once constructed, the worker is ready for trials."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        # set before torch uses a device
        os.environ.update(environment, OMP_NUM_THREADS="1")
        if not ray.get_runtime_context().get_accelerator_ids()["GPU"]:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # hide GPUs from a CPU worker
        from telescope.train.program import choose
        from telescope.trials.numerics import numerics
        from workers import runner

        self._run, self._choose = runner.run_attempts, choose
        self._leaving: set[tuple[int, int]] = set()  # (trial id, attempt) of attempts to end
        runner.warm_up()
        self._numerics = numerics()

    def ready(self) -> str:
        """Return the worker's numerics once the worker is constructed and idle.

        Numerics are a string that names the worker's version of torch, its device, and the revision
        of telescope's arithmetic.
        """
        return self._numerics

    def choose(self, spec: TrialSpec, max_members: int, steps: float) -> Program:
        """Find the fastest way for this worker to train trials like `spec`.

        See `telescope.train.program.choose` for the parameters.
        """
        return self._choose(spec, max_members, steps)

    def run(self, pack: Pack) -> Iterator[Event]:
        """Run the attempts of a pack, and yield their events."""
        yield from self._run(
            pack.assignments,
            lambda assignment: (assignment.trial_id, assignment.attempt) in self._leaving,
            pack.compiled,
        )
        self._leaving -= {
            (assignment.trial_id, assignment.attempt) for assignment in pack.assignments
        }

    @ray.method(concurrency_group=ASIDE)  # type: ignore[untyped-decorator]
    def leave(self, assignment: Assignment) -> None:
        """Make the attempt end at its next step."""
        self._leaving.add((assignment.trial_id, assignment.attempt))


def worker_environment() -> dict[str, str]:
    """Return the environment variables to set in every worker.

    TELESCOPE_HOME, the interval between checkpoints, and the switch for compilation have the values
    of this process. TELESCOPE_FACTORY_PATH lists folders with factories (users' functions that
    build models). It is empty in workers, since a folder with the same path on another machine may
    hold other code. Workers find factories in code that was sent to them or is installed.
    """
    environment = {"TELESCOPE_HOME": str(home().resolve()), factory.PATH: ""}
    for name in (CHECKPOINT_SECONDS, COMPILE):
        if value := os.environ.get(name):
            environment[name] = value
    return environment
