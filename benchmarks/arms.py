"""Ways to run the same trials.

    python -m benchmarks.arms ARM LOAD --out FILE

benchmarks.throughput calls it to run one arm in a separate process.

(a) Ray Tune, function trainable; (b) Ray Tune, class trainable, reused actors; (c) plain loops, one
process per core; (d) telescope's executor with warm Ray workers, as its service uses it, where
nothing has been compiled before; (e) the same where an earlier job has compiled the load's shapes.
(a) to (c) train with `benchmarks.peers.plain`.

Parts: `Load`, `LOADS`, `warming` · `Outcome` of a trial, `ArmRun` of a load · one function per arm,
`ARMS` · `main`.
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
    """A number of trials, half of them Muon's, at these widths.

    Targets are ratios of trials per hour, against (a) and against (b), (c).
    """

    widths: tuple[int, ...]
    trials: int
    steps: int
    order: str  # in which the arms take turns
    against_a: float | None = None
    against_best: float | None = None
    a_trains_one_in: int = (
        1  # trials: a process per trial costs the same however many there are, and minutes
    )

    def specs(self) -> list[TrialSpec]:
        return trials(self.widths, self.trials, self.steps)

    def numbers(self, arm: str) -> tuple[int, ...]:
        """The numbers of the trials that an arm trains.

        Muon and AdamW alternate, so that of pairs each optimizer has half.
        """
        return tuple(
            n for n in range(self.trials) if arm != "a" or n // 2 % self.a_trains_one_in == 0
        )

    @property
    def title(self) -> str:
        return f"{self.trials} trials of {self.steps:,} steps at widths {' and '.join(map(str, self.widths))}"


LOADS = {
    "short": Load((32, 64), 64, 120, "dcba", 4.0, 1.3, a_trains_one_in=4),
    "long": Load((32, 64), 8, 1200, "edca", 1.6, 1.25),  # an eighth of "long64"
    "long64": Load((32, 64), 64, 1200, "dcba", 1.6, 1.25),  # an hour for all arms
    "wide": Load((128, 256), 8, 120, "dc"),
    "sample": Load((32, 64), 16, 120, "cdba", 4.0, 1.3),  # a quarter of "short", for a look
    "quick": Load((32, 64), 4, 30, "cdba"),
}


def warming() -> TrialSpec:
    """The trials that each worker of (b), (c) and (d) runs before the clock starts."""
    return trial(32, 10, OPTIMIZERS[0])


@dataclass(frozen=True)
class Outcome:
    """The outcome of a trial."""

    loss: float
    began: float  # on the clock, by its worker
    ended: float  # on the clock: by its worker, or where the driver heard of it
    seconds: float  # of training, held-out loss included


@dataclass(frozen=True)
class ArmRun:
    """One run of a load by an arm."""

    arm: str
    load: str
    startup_s: float  # from the process's start until the first trial begins
    wall_s: float  # from then until the last result is there
    training_s: float  # of all its trials
    trials: tuple[int, ...]  # their numbers in the load
    losses: tuple[float, ...]
    peak_bytes: int = 0  # resident memory of all its processes


def by_worker(loss: float, began: float, seconds: float) -> Outcome:
    """The outcome of a trial that its worker timed from beginning to end."""
    return Outcome(loss, began, began + seconds, seconds)


def tune_functions(specs: Sequence[TrialSpec], processes: int) -> list[Outcome]:
    from benchmarks.peers import ray_tune

    found = ray_tune.run_functions([recipe(spec) for spec in specs], processes)
    return [by_worker(r["loss"], r["began"], r["train_seconds"]) for r in found]


def tune_classes(specs: Sequence[TrialSpec], processes: int) -> list[Outcome]:
    from benchmarks.peers import ray_tune

    found = ray_tune.run_classes([recipe(spec) for spec in specs], processes, recipe(warming()))
    return [by_worker(r["loss"], r["began"], r["train_seconds"]) for r in found]


def plain_loops(specs: Sequence[TrialSpec], processes: int) -> list[Outcome]:
    from benchmarks.peers.loops import run, warm_up

    context = multiprocessing.get_context("spawn")
    with context.Pool(processes, warm_up, (recipe(warming()), context.Barrier(processes))) as pool:
        return [
            by_worker(*found)
            for found in pool.map(run, [recipe(spec) for spec in specs], chunksize=1)
        ]


def telescope_again(specs: Sequence[TrialSpec], processes: int) -> list[Outcome]:
    from telescope.train.compiled import Graph, compile_graph
    from workers.runner import settle

    spawning = multiprocessing.get_context("spawn")
    with spawning.Pool(1, settle) as pool:  # an earlier job's worker
        pool.map(compile_graph, dict.fromkeys(map(Graph.of, specs)))
    return telescope(specs, processes)


def telescope(specs: Sequence[TrialSpec], processes: int) -> list[Outcome]:
    from workers.interface import Assignment, Failed, Finished, Started
    from workers.on_ray.actors import RayExecutor

    logging.basicConfig(
        level=logging.INFO, format="%(name)s: %(message)s"
    )  # which programs the workers choose
    executor, found = (
        RayExecutor(processes),
        dict[int, Outcome](),
    )  # it closes with the process, as Tune's Ray does
    with tempfile.TemporaryDirectory() as folder:

        def run(numbered: Sequence[tuple[int, TrialSpec]]) -> set[str]:
            """Train all trials; return the worker of each."""
            first, workers, left = numbered[0][0], set[str](), {number for number, _ in numbered}
            began = {
                first: time.time()
            }  # the clock also runs while a worker measures which packs pay
            executor.submit(
                *(Assignment(number, 1, spec, f"{folder}/{number}.pt") for number, spec in numbered)
            )
            while left:
                for event in executor.events(1.0):
                    match event:
                        case Started():
                            began.setdefault(event.trial_id, time.time())
                            workers.add(event.worker)
                        case Finished():
                            last = event.points[-1]
                            found[event.trial_id] = Outcome(
                                last.metrics["loss"],
                                began[event.trial_id],
                                time.time(),
                                last.seconds,
                            )
                            left.remove(event.trial_id)
                        case Failed():
                            raise RuntimeError(event.failure.message)
            return workers

        warm, attempts = set[str](), 0
        while len(warm) < processes:  # start-up: until every worker has run something
            attempts += 1
            warm |= run([(-attempts * processes - slot, warming()) for slot in range(processes)])
        run(list(enumerate(specs)))
    return [found[number] for number in range(len(specs))]


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
    given = parser.parse_args()
    load = LOADS[given.load]
    specs, numbers = load.specs(), load.numbers(given.arm)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache  # nothing was compiled on this machine
        outcomes = ARMS[given.arm].run([specs[number] for number in numbers], cores())
    began, ended = (
        min(outcome.began for outcome in outcomes),
        max(outcome.ended for outcome in outcomes),
    )
    run = ArmRun(
        arm=given.arm,
        load=given.load,
        startup_s=began - psutil.Process().create_time(),
        wall_s=ended - began,
        training_s=sum(outcome.seconds for outcome in outcomes),
        trials=numbers,
        losses=tuple(outcome.loss for outcome in outcomes),
    )
    given.out.write_text(json.dumps(asdict(run)))


if __name__ == "__main__":
    main()
