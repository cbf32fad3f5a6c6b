"""Overhead of telescope's service over a bare loop, for a whole job.

    python -m benchmarks.service [--workers 1 2] [--rounds 1] [--quick]

The job is Algorithm 1 of arXiv 2505.02222 at widths 32 and 64, with 32 and 8 trials of 120 steps of
512 tokens. The service has a coordinator process, a SQLite database and Ray workers, all of which
are warm before the job arrives. Its time is the time from the creation of the job to the job's end,
as the database records them. The bare loop runs the same study on a pool of warm processes, one for
each worker, without a database, events, checkpoints or Ray.

Both train the same trials in the same order of stages, with one thread per process, and end in the
same report. Both train several trials of the same shape (model, optimizer and batch size) together
as a pack (`telescope.train.pack`), and measure during the run how many trials a pack should have.
In each round the service and the bare loop take turns, each with new processes, so that they never
run at the same time.
"""

import argparse
import itertools
import math
import multiprocessing
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import psutil

import migrations
from api.coordinator.supervisor import Child, end
from api.store.record import CoordinatorStore
from benchmarks.arguments import parsed
from benchmarks.machine import describe
from telescope.studies import registry
from telescope.studies.kind import AnyStudy
from telescope.train.compiled import COMPILE
from telescope.train.loop import Left, train, train_one
from telescope.train.pack import shape
from telescope.train.program import choose
from telescope.trials.outcome import Measurement, Trial, completed
from telescope.trials.spec import TrialSpec
from workers import runner
from workers.packs import MOST_TOGETHER

DOCUMENT = {
    "kind": "telescope",
    "name": "service",
    "model": {
        "base_width": 32,
        "calibration_width": 64,
        "target_width": 128,
        "depth": 2,
        "head_dim": 16,
    },
    "data": {"corpus": "python-stdlib", "context": 64},
    "horizon": {"steps": 120, "batch_tokens": 512},
    "search": {
        "lr": {"low": 0.005, "high": 0.25, "points": 8},
        "weight_decay": {"low": 0.01, "high": 1.0, "points": 4},
    },
    "schedule": "paper",
    "coordinates": "skip",
}
WARMING = DOCUMENT | {
    "name": "warm-up",
    "horizon": {"steps": 5, "batch_tokens": 512, "evaluation_tokens": 512},
    "search": {"lr": {"low": 0.005, "high": 0.25, "points": 8}},
}
POLL_SECONDS = 0.1
CHOSEN = re.compile(r"width \d+, \w+: packs of \d+")  # a pack size in the coordinator's log
WARM_SECONDS = 120.0  # longest time to wait until all processes of a pool are warm
# The targets: the largest ratio of the service's time to the bare loop's time, and the smallest
# ratio of the service's time with one worker to its time with two workers.
MOST_OVER_BARE, LEAST_OF_TWO = 1.05, 1.8


@dataclass(frozen=True)
class Run:
    """Times and results of one run of the job."""

    seconds: float
    cpu_seconds: float  # sum over all processes
    training_seconds: float  # sum over all trials, as their workers measured it
    losses: tuple[float, ...]  # final losses, in the order of the trials' digests
    programs: tuple[str, ...]  # the pack size that was chosen for each shape, as text


def study_of(document: dict[str, Any]) -> AnyStudy:
    return registry.resolved(registry.parse(document))


def cpu_seconds(pid: int) -> float:
    """The CPU seconds that a process and its living descendants have used so far."""
    root = psutil.Process(pid)
    times = [process.cpu_times() for process in (root, *root.children(recursive=True))]
    return sum(time.user + time.system for time in times)


def losses(trials: Iterable[Trial]) -> tuple[float, ...]:
    return tuple(trial.loss or 0.0 for trial in sorted(trials, key=lambda trial: trial.digest))


def training_seconds(trials: Iterable[Trial]) -> float:
    return sum(trial.seconds for trial in trials)


# The service


def service(workers: int) -> Run:
    with (
        tempfile.TemporaryDirectory() as folder,
        coordinator(Path(folder), workers) as (record, pid),
    ):
        warm_workers: set[str | None] = set()
        for seed in itertools.count(1):
            job_id = run_job(record, WARMING | {"seeds": seed})
            warm_workers |= {trial.worker for trial in record.trials(job_id, 1000).items}
            if len(warm_workers - {None}) == workers:
                break
        cpu_before = cpu_seconds(pid)
        job_id = run_job(record, DOCUMENT)
        cpu_spent = cpu_seconds(pid) - cpu_before
        job, trials = record.job(job_id), record.terminal_trials(job_id)
        assert job.ended_at is not None
        log = Path(folder, "coordinator.log").read_text()
        return Run(
            (job.ended_at - job.created_at).total_seconds(),
            cpu_spent,
            training_seconds(trials),
            losses(trials),
            tuple(CHOSEN.findall(log)),
        )


@contextmanager
def coordinator(folder: Path, workers: int) -> Iterator[tuple[CoordinatorStore, int]]:
    """Start a coordinator with Ray workers on an empty database.

    Yields the store and the coordinator's process id. The coordinator and its workers end when the
    `with` block ends.
    """
    url = f"sqlite:///{folder}/telescope.db"
    migrations.upgrade(url)
    settings = {
        "TELESCOPE_DATABASE_URL": url,
        "TELESCOPE_CHECKPOINT_DIR": str(folder / "checkpoints"),
        "TELESCOPE_EXECUTOR": "ray",
        "TELESCOPE_WORKERS": str(workers),
    }
    record = CoordinatorStore(url)
    with open(folder / "coordinator.log", "wb") as log:
        child = Child("coordinator", os.environ | settings, print, log)
        try:
            yield record, child.process.pid
        finally:
            end([child])
            record.close()


def run_job(record: CoordinatorStore, document: dict[str, Any]) -> str:
    """Submit a job, wait for its end, and return its id."""
    job, _ = record.create_job(registry.to_document(study_of(document)))
    while not record.job(job.id).state.terminal:
        time.sleep(POLL_SECONDS)
    return job.id


# The bare loop


def bare(workers: int) -> Run:
    study, warming = study_of(DOCUMENT), study_of(WARMING).plan([]).start[0]
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(workers + 1)
    trials: list[Trial] = []
    pack_sizes: dict[str, int] = {}  # by shape
    programs: list[str] = []
    with context.Pool(workers, warm_up, (warming, barrier)) as pool:
        barrier.wait(WARM_SECONDS)
        cpu_before, start = cpu_seconds(os.getpid()), time.perf_counter()
        while not (plan := study.plan(trials)).done:
            packs: list[list[TrialSpec]] = []
            for key, group in by_shape(plan.start):
                if key not in pack_sizes:
                    first = group[0]
                    size = pool.apply(choose, (first, MOST_TOGETHER, 0)).members
                    pack_sizes[key] = size
                    programs.append(
                        f"width {first.model.width}, {first.optimizer.name}: packs of {size}"
                    )
                packs += in_packs(group, pack_sizes[key], workers)
            for pack_trials in pool.imap_unordered(train_pack, packs):
                trials += pack_trials
        study.report(trials)
        seconds, cpu_spent = time.perf_counter() - start, cpu_seconds(os.getpid()) - cpu_before
    return Run(seconds, cpu_spent, training_seconds(trials), losses(trials), tuple(programs))


def warm_up(spec: TrialSpec, all_warm: Barrier) -> None:
    runner.warm_up()
    list(train_one(spec))
    all_warm.wait(WARM_SECONDS)


def by_shape(specs: Iterable[TrialSpec]) -> Iterator[tuple[str, list[TrialSpec]]]:
    """Yield groups of trials that may share a pack, each group with the key of its shape."""
    for key, group in itertools.groupby(sorted(specs, key=shape), key=shape):
        yield key, list(group)


def in_packs(group: Sequence[TrialSpec], size: int, workers: int) -> Iterator[list[TrialSpec]]:
    """Split a group into packs of at most `size` trials.

    A pack also has at most as many trials as each worker gets if the group is divided evenly.
    """
    length = min(size, math.ceil(len(group) / workers))
    for begin in range(0, len(group), length):
        yield list(group[begin : begin + length])


def train_pack(specs: Sequence[TrialSpec]) -> list[Trial]:
    """Train all trials of a pack together, and return their results."""
    curves: list[list[Measurement]] = [[] for _ in specs]
    for event in train(specs):
        if not isinstance(event, Left):
            curves[event.index].append(event.measurement)
    return [completed(spec, curve) for spec, curve in zip(specs, curves, strict=True)]


# Figures


def table(runs: dict[tuple[str, int], list[Run]], workers: Sequence[int]) -> Iterator[str]:
    """Yield the lines of the table: medians over the rounds, then ratios of times.

    The column "training" is the share of the workers' time that was spent on training.
    """
    yield f"{'':<12}{'workers':>8}{'seconds':>9}{'by round':>24}{'CPU s':>9}{'training':>10}"
    for (name, count), rounds in runs.items():
        seconds = [run.seconds for run in rounds]
        rounded = ", ".join(f"{value:.2f}" for value in seconds)
        cpu = statistics.median(run.cpu_seconds for run in rounds)
        # This share does not depend on the machine's speed.
        share = statistics.median(run.training_seconds / (count * run.seconds) for run in rounds)
        yield (
            f"{name:<12}{count:>8}{statistics.median(seconds):>9.2f}{rounded:>24}"
            f"{cpu:>9.2f}{share:>10.1%}"
        )
    for count in workers:
        over = ratio(runs["service", count], runs["bare loop", count])
        target = f"<= {MOST_OVER_BARE}"
        yield judged(
            f"service / bare loop, {count} worker(s)", over, over <= MOST_OVER_BARE, target
        )
    if {1, 2} <= set(workers):
        gain = ratio(runs["service", 1], runs["service", 2])
        target = f">= {LEAST_OF_TWO}"
        yield judged("service, two workers against one", gain, gain >= LEAST_OF_TWO, target)
        gain = ratio(runs["bare loop", 1], runs["bare loop", 2])
        yield f"{'bare loop, two workers against one':<40}{gain:>7.3f}"


def ratio(numerators: Sequence[Run], denominators: Sequence[Run]) -> float:
    """The median over the rounds of the ratio of two runs' times."""
    pairs = zip(numerators, denominators, strict=True)
    return statistics.median(above.seconds / below.seconds for above, below in pairs)


def judged(name: str, value: float, holds: bool, target: str) -> str:
    """A line that says whether a ratio meets its target."""
    return f"{name:<40}{value:>7.3f}  target {target}: {'pass' if holds else 'miss'}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parsed(parser, workers=[1])
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before any call to CUDA; children inherit it
    # Nothing is compiled, since compilation would take longer than it saves in so short a job.
    os.environ[COMPILE] = "never"
    print(describe())
    arms = {
        (name, count): partial(measure, count)
        for count in arguments.workers
        for name, measure in (("service", service), ("bare loop", bare))
    }
    runs: dict[tuple[str, int], list[Run]] = {arm: [] for arm in arms}
    for turn in range(arguments.rounds):
        for arm in list(arms)[:: 1 if turn % 2 == 0 else -1]:
            (name, count), run = arm, arms[arm]()
            runs[arm].append(run)
            print(
                f"{name}, {count} worker(s): {run.seconds:.2f} s; {'; '.join(run.programs)}",
                file=sys.stderr,
                flush=True,
            )
    all_losses = [run.losses for rounds in runs.values() for run in rounds]
    equal = len(set(all_losses)) == 1
    trial_count = len(all_losses[0])
    print(f"{trial_count} trials of 120 steps at widths 32 and 64, {arguments.rounds} round(s)")
    print(*table(runs, arguments.workers), sep="\n")
    print("the final losses of all runs are " + ("equal" if equal else "NOT equal"))
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
