"""Ways to run the same trials, with telescope and with other tools.

    python -m benchmarks.arms ARM LOAD --out FILE

A load is a list of trials, and an arm is a way to run them. `benchmarks.throughput` calls this
module to run one arm in a separate process. The arms are:

- (a) Ray Tune with a function trainable
- (b) Ray Tune with a class trainable and reused actors
- (c) plain loops, in one process per core
- (d) the part of telescope that trains a job's trials on Ray workers; the workers are warm, but
  their machine has compiled nothing before
- (e) as (d), after an earlier job has compiled the programs for all shapes of models in the load

Arms (a) to (c) train with the plain loop of `benchmarks.peers.plain`.
"""

import argparse
import json
import logging
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from benchmarks.machine import cores
from benchmarks.recipes import OPTIMIZERS, recipe, trial, trials
from telescope.trials.spec import TrialSpec


@dataclass(frozen=True)
class Load:
    """Trials at several widths: half of the trials use Muon, the other half AdamW.

    `against_a` is the target for telescope's trials per hour divided by those of arm (a).
    `against_best` is the same for the better of the arms (b) and (c).
    """

    widths: tuple[int, ...]
    trials: int
    steps: int
    order: str  # letters of the arms, in the order in which they take turns
    against_a: float | None = None
    against_best: float | None = None
    # Arm (a) starts a process for each trial, so that the whole load would take it many minutes. It
    # trains only one trial in this many, since its time per trial does not depend on their number.
    a_trains_one_in: int = 1

    def specs(self) -> list[TrialSpec]:
        return trials(self.widths, self.trials, self.steps)

    def numbers(self, arm: str) -> tuple[int, ...]:
        """The positions in the load of the trials that an arm trains.

        Trials with Muon and with AdamW alternate in the load. Trials are therefore chosen in pairs,
        so that each optimizer has half of the chosen trials.
        """
        return tuple(
            number
            for number in range(self.trials)
            if arm != "a" or number // 2 % self.a_trains_one_in == 0
        )

    @property
    def title(self) -> str:
        widths = " and ".join(map(str, self.widths))
        return f"{self.trials} trials of {self.steps:,} steps at widths {widths}"


LOADS = {
    "short": Load((32, 64), 64, 120, "dcba", 4.0, 1.3, a_trains_one_in=4),
    "long": Load((32, 64), 8, 1200, "edca", 1.6, 1.25),  # an eighth of the trials of "long64"
    "long64": Load((32, 64), 64, 1200, "dcba", 1.6, 1.25),  # all arms together take an hour
    "wide": Load((128, 256), 8, 120, "dc"),
    "sample": Load((32, 64), 16, 120, "cdba", 4.0, 1.3),  # a quarter of the trials of "short"
    "quick": Load((32, 64), 4, 30, "cdba"),
}


def warm_up_spec() -> TrialSpec:
    """The trial that each worker of the arms (b) to (e) runs before the clock starts."""
    return trial(32, 10, OPTIMIZERS[0])


@dataclass(frozen=True)
class Outcome:
    """Final loss and times of a trial."""

    loss: float
    began: float  # Unix time at which training began
    ended: float  # Unix time at which training ended, or at which the main process learned of it
    seconds: float  # duration of training, including the computation of the held-out loss


@dataclass(frozen=True)
class ArmRun:
    """One run of a load by an arm."""

    arm: str
    load: str
    startup_s: float  # from the start of the process to the start of the first trial
    wall_s: float  # from the start of the first trial to the last result
    training_s: float  # total over all trials
    trials: tuple[int, ...]  # positions of the trials in the load
    losses: tuple[float, ...]  # final losses, in the order of `trials`
    peak_bytes: int = 0  # largest resident memory of all processes together


def by_worker(loss: float, began: float, seconds: float) -> Outcome:
    """The outcome of a trial whose worker measured both the start time and the duration."""
    return Outcome(loss, began, began + seconds, seconds)


def tune_functions(specs: Sequence[TrialSpec], processes: int) -> list[Outcome]:
    from benchmarks.peers import ray_tune

    reports = ray_tune.run_functions([recipe(spec) for spec in specs], processes)
    return [
        by_worker(report["loss"], report["began"], report["train_seconds"]) for report in reports
    ]


def tune_classes(specs: Sequence[TrialSpec], processes: int) -> list[Outcome]:
    from benchmarks.peers import ray_tune

    recipes = [recipe(spec) for spec in specs]
    reports = ray_tune.run_classes(recipes, processes, recipe(warm_up_spec()))
    return [
        by_worker(report["loss"], report["began"], report["train_seconds"]) for report in reports
    ]


def plain_loops(specs: Sequence[TrialSpec], processes: int) -> list[Outcome]:
    from benchmarks.peers.loops import run, warm_up

    context = multiprocessing.get_context("spawn")
    initial = (recipe(warm_up_spec()), context.Barrier(processes))
    with context.Pool(processes, warm_up, initial) as pool:
        results = pool.map(run, [recipe(spec) for spec in specs], chunksize=1)
    return [by_worker(loss, began, seconds) for loss, began, seconds in results]


def telescope_again(specs: Sequence[TrialSpec], processes: int) -> list[Outcome]:
    from telescope.train.compiled import Graph, compile_graph
    from workers.runner import settle

    context = multiprocessing.get_context("spawn")
    with context.Pool(1, settle) as pool:  # compiles what a worker of an earlier job would compile
        pool.map(compile_graph, dict.fromkeys(map(Graph.of, specs)))
    return telescope(specs, processes)


def telescope(specs: Sequence[TrialSpec], processes: int) -> list[Outcome]:
    from workers.interface import Assignment, Failed, Finished, Started
    from workers.on_ray.actors import RayExecutor

    # The log shows which programs the workers choose.
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    executor = RayExecutor(processes)  # its Ray ends together with this process
    outcomes = dict[int, Outcome]()
    with tempfile.TemporaryDirectory() as folder:

        def run(specs_by_number: dict[int, TrialSpec]) -> set[str]:
            """Train all trials, and return the names of the workers that trained them."""
            workers, unfinished = set[str](), set(specs_by_number)
            # The time of the first trial starts here, so that it includes the time in which the
            # workers measure how many trials to train together.
            began = {next(iter(specs_by_number)): time.time()}
            executor.submit(
                *(
                    Assignment(number, 1, spec, f"{folder}/{number}.pt")
                    for number, spec in specs_by_number.items()
                )
            )
            while unfinished:
                for event in executor.events(1.0):
                    match event:
                        case Started(trial_id=number, worker=worker):
                            began.setdefault(number, time.time())
                            workers.add(worker)
                        case Finished(trial_id=number, points=(*_, last)):
                            loss = last.metrics["loss"]
                            outcomes[number] = Outcome(
                                loss, began[number], time.time(), last.seconds
                            )
                            unfinished.remove(number)
                        case Failed(failure=failure):
                            raise RuntimeError(failure.message)
            return workers

        warm, attempts = set[str](), 0
        while len(warm) < processes:  # until every worker has trained a trial
            attempts += 1
            numbers = range(-(attempts + 1) * processes + 1, -attempts * processes + 1)
            warm |= run({number: warm_up_spec() for number in numbers})
        run(dict(enumerate(specs)))
    return [outcomes[number] for number in range(len(specs))]


@dataclass(frozen=True)
class Arm:
    """A way to run trials."""

    name: str
    run: Callable[[Sequence[TrialSpec], int], list[Outcome]]


ARMS = {
    "a": Arm("Ray Tune, function", tune_functions),
    "b": Arm("Ray Tune, class, reused actors", tune_classes),
    "c": Arm("plain loops, a process per core", plain_loops),
    "d": Arm("telescope", telescope),
    "e": Arm("telescope, shapes compiled before", telescope_again),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("arm", choices=ARMS)
    parser.add_argument("load", choices=LOADS)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    load = LOADS[arguments.load]
    specs, numbers = load.specs(), load.numbers(arguments.arm)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache  # empty, as on a new machine
        outcomes = ARMS[arguments.arm].run([specs[number] for number in numbers], cores())
    began = min(outcome.began for outcome in outcomes)
    ended = max(outcome.ended for outcome in outcomes)
    run = ArmRun(
        arm=arguments.arm,
        load=arguments.load,
        startup_s=began - psutil.Process().create_time(),
        wall_s=ended - began,
        training_s=sum(outcome.seconds for outcome in outcomes),
        trials=numbers,
        losses=tuple(outcome.loss for outcome in outcomes),
    )
    arguments.out.write_text(json.dumps(asdict(run)))


if __name__ == "__main__":
    main()
