"""The class that runs inside a Ray actor's process, and the environment variables of the process.

A worker imports torch and warms its kernels before a trial arrives. Each pack of trials is a
streaming call on the worker.
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

# Concurrency group of the actor's second thread, for calls that do not wait for a stream.
ASIDE = "aside"


class Worker:
    """Runs trials inside an actor's process; it is warm when its constructor returns."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        # set before torch is imported, hence the imports below instead of at the top
        os.environ.update(environment, OMP_NUM_THREADS="1")
        if not ray.get_runtime_context().get_accelerator_ids()["GPU"]:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # a CPU worker on a machine with GPUs
        from telescope.train.program import choose
        from telescope.trials.numerics import numerics
        from workers import runner

        self._run, self._choose = runner.run_attempts, choose
        self._leaving: set[tuple[int, int]] = set()  # (trial id, attempt) of attempts to end
        runner.warm_up()
        self._numerics = numerics()

    def ready(self) -> str:
        """Return the worker's numerics; the call returns once the worker is warm and idle."""
        return self._numerics

    def choose(self, spec: TrialSpec, max_members: int, steps: float) -> Program:
        """Return the fastest program for trials of this shape on this worker."""
        return self._choose(spec, max_members, steps)

    def run(self, pack: Pack) -> Iterator[Event]:
        """Run the attempts of a pack, as a stream of events."""
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
        """End this attempt at its next step."""
        self._leaving.add((assignment.trial_id, assignment.attempt))


def worker_environment() -> dict[str, str]:
    """Return the environment variables that workers on any node take over from this process.

    The variables are TELESCOPE_HOME, the checkpoint interval, and whether to compile. Workers use
    factories whose code was sent to them or is installed; they search no folders, since folders of
    another machine may hold other code.
    """
    environment = {"TELESCOPE_HOME": str(home().resolve()), factory.PATH: ""}
    for name in (CHECKPOINT_SECONDS, COMPILE):
        if value := os.environ.get(name):
            environment[name] = value
    return environment
