"""Overhead of the service over a bare loop, for a whole job.

    python -m benchmarks.service [--workers 1 2] [--rounds 1] [--quick]

The job is Algorithm 1 at widths 32 and 64, with 32 and 8 trials of 120 steps of 512 tokens. The
service is the real one: coordinator process, SQLite, Ray workers, warm before the job arrives; its
seconds are those of the job's row, from creation to end. The bare loop folds the same study over a
pool of as many processes, also warm, and has no database, events, checkpoints or Ray. Both train
the same specs, stage by stage, with one thread per process, in packs of trials of one shape whose
sizes they measure meanwhile (`telescope.train.pack`), and end in the same report. They take turns
within a round, each with newly started processes, so that neither runs beside the other.

Parts: `service` and `bare`, each returning a `Run` · `table`.
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
CHOSEN = re.compile(r"width \d+, \w+: packs of \d+")  # in the coordinator's log
WARM_SECONDS = 120.0  # that a pool may take to be warm
MOST_OVER_BARE, LEAST_OF_TWO = 1.05, 1.8  # the targets


@dataclass(frozen=True)
class Run:
    """One whole job."""

    seconds: float
    cpu_seconds: float  # of all its processes
    training_seconds: float  # of all its trials, by their workers' own clocks
    losses: tuple[float, ...]  # by digest
    programs: tuple[str, ...]  # what its workers chose for each shape: packs of how many


def study_of(document: dict[str, Any]) -> AnyStudy:
    return registry.resolved(registry.parse(document))


def cpu_seconds(pid: int) -> float:
    """CPU seconds so far of a process and its live descendants."""
    root = psutil.Process(pid)
    return sum(
        times.user + times.system
        for times in (process.cpu_times() for process in [root, *root.children(recursive=True)])
    )


def losses(trials: Iterable[Trial]) -> tuple[float, ...]:
    return tuple(trial.loss or 0.0 for trial in sorted(trials, key=lambda trial: trial.digest))


def training(trials: Iterable[Trial]) -> float:
    return sum(trial.seconds for trial in trials)


# --------------------------------------------------------------------------------------------------
# -------- the service


def service(workers: int) -> Run:
    with tempfile.TemporaryDirectory() as folder, started(Path(folder), workers) as (record, pid):
        warmed: set[str | None] = set()
        for seed in itertools.count(1):
            job_id = finished(record, WARMING | {"seeds": seed})
            warmed |= {trial.worker for trial in record.trials(job_id, 1000).items}
            if len(warmed - {None}) == workers:
                break
        before = cpu_seconds(pid)
        job_id = finished(record, DOCUMENT)
        spent = cpu_seconds(pid) - before
        job = record.job(job_id)
        assert job.ended_at is not None
        programs = tuple(CHOSEN.findall(Path(folder, "coordinator.log").read_text()))
        trials = record.terminal_trials(job_id)
        return Run(
            (job.ended_at - job.created_at).total_seconds(),
            spent,
            training(trials),
            losses(trials),
            programs,
        )


@contextmanager
def started(folder: Path, workers: int) -> Iterator[tuple[CoordinatorStore, int]]:
    """Start a coordinator with its Ray on an empty database; they end with the block."""
    url = f"sqlite:///{folder}/telescope.db"
    migrations.upgrade(url)
    chosen = {
        "DATABASE_URL": url,
        "CHECKPOINT_DIR": str(folder / "checkpoints"),
        "EXECUTOR": "ray",
        "WORKERS": str(workers),
    }
    record = CoordinatorStore(url)
    with open(folder / "coordinator.log", "wb") as log:
        child = Child(
            "coordinator",
            os.environ | {f"TELESCOPE_{name}": value for name, value in chosen.items()},
            print,
            log,
        )
        try:
            yield record, child.process.pid
        finally:
            end([child])
            record.close()


def finished(record: CoordinatorStore, document: dict[str, Any]) -> str:
    """Submit a job and wait for its end."""
    job, _ = record.create_job(registry.to_document(study_of(document)))
    while not record.job(job.id).state.terminal:
        time.sleep(POLL_SECONDS)
    return job.id


# --------------------------------------------------------------------------------------------------
# ------- the bare loop


def bare(workers: int) -> Run:
    study, warming = study_of(DOCUMENT), study_of(WARMING).plan([]).start[0]
    spawning = multiprocessing.get_context("spawn")
    warm = spawning.Barrier(workers + 1)
    trials, sizes, programs = (
        list[Trial](),
        dict[str, int](),
        list[str](),
    )  # sizes of packs by shape
    with spawning.Pool(workers, warm_up, (warming, warm)) as pool:
        warm.wait(WARM_SECONDS)
        before, began = cpu_seconds(os.getpid()), time.perf_counter()
        while not (plan := study.plan(trials)).done:
            packs: list[list[TrialSpec]] = []
            for alike, group in by_shape(plan.start):
                if alike not in sizes:
                    sizes[alike] = pool.apply(choose, (group[0], MOST_TOGETHER, 0)).members
                    programs.append(
                        f"width {group[0].model.width}, {group[0].optimizer.name}: packs of {sizes[alike]}"
                    )
                packs += in_packs(group, sizes[alike], workers)
            for ended in pool.imap_unordered(trained, packs):
                trials += ended
        study.report(trials)
        seconds, spent = time.perf_counter() - began, cpu_seconds(os.getpid()) - before
    return Run(seconds, spent, training(trials), losses(trials), tuple(programs))


def warm_up(spec: TrialSpec, warm: Barrier) -> None:
    runner.warm_up()
    list(train_one(spec))
    warm.wait(WARM_SECONDS)


def by_shape(specs: Iterable[TrialSpec]) -> Iterator[tuple[str, list[TrialSpec]]]:
    """Groups of trials that may share packs."""
    for alike, group in itertools.groupby(sorted(specs, key=shape), key=shape):
        yield alike, list(group)


def in_packs(group: Sequence[TrialSpec], size: int, workers: int) -> Iterator[list[TrialSpec]]:
    """Packs of the size that pays, but no more than each worker's share."""
    at_once = min(size, math.ceil(len(group) / workers))
    for begin in range(0, len(group), at_once):
        yield list(group[begin : begin + at_once])


def trained(specs: Sequence[TrialSpec]) -> list[Trial]:
    """Train these trials as one program."""
    curves: list[list[Measurement]] = [[] for _ in specs]
    for told in train(specs):
        if not isinstance(told, Left):
            curves[told.index].append(told.measurement)
    return [completed(spec, curve) for spec, curve in zip(specs, curves, strict=True)]


# --------------------------------------------------------------------------------------------------
# ------------- figures


def table(runs: dict[tuple[str, int], list[Run]], workers: Sequence[int]) -> Iterator[str]:
    """Medians over the rounds; ratios are of runs of the same round."""
    yield f"{'':<12}{'workers':>8}{'seconds':>9}{'of them':>24}{'CPU':>9}{'training':>10}"
    for (name, count), found in runs.items():
        seconds = [run.seconds for run in found]
        cpu = statistics.median(run.cpu_seconds for run in found)
        each = ", ".join(f"{value:.2f}" for value in seconds)
        share = statistics.median(
            run.training_seconds / (count * run.seconds) for run in found
        )  # whatever the machine's speed
        yield (
            f"{name:<12}{count:>8}{statistics.median(seconds):>9.2f}{each:>24}{cpu:>9.2f}{share:>10.1%}"
        )
    for count in workers:
        over = ratio(runs["service", count], runs["bare loop", count])
        yield judged(
            f"service / bare loop, {count} worker(s)",
            over,
            over <= MOST_OVER_BARE,
            f"<= {MOST_OVER_BARE}",
        )
    if {1, 2} <= set(workers):
        for name, judge in (("service", True), ("bare loop", False)):
            gain = ratio(runs[name, 1], runs[name, 2])
            line = f"{name}, two workers against one"
            yield (
                judged(line, gain, gain >= LEAST_OF_TWO, f">= {LEAST_OF_TWO}")
                if judge
                else f"{line:<40}{gain:>7.3f}"
            )


def ratio(above: Sequence[Run], below: Sequence[Run]) -> float:
    return statistics.median(
        one.seconds / other.seconds for one, other in zip(above, below, strict=True)
    )


def judged(name: str, value: float, holds: bool, target: str) -> str:
    return f"{name:<40}{value:>7.3f}  target {target}: {'pass' if holds else 'miss'}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=1)
    options = parsed(parser, workers=[1])
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before any call to CUDA; children inherit it
    os.environ[COMPILE] = (
        "never"  # so short a job would not repay it, but where it ran before it might
    )
    print(describe())
    arms = {
        (name, count): partial(measure, count)
        for count in options.workers
        for name, measure in (("service", service), ("bare loop", bare))
    }
    runs: dict[tuple[str, int], list[Run]] = {arm: [] for arm in arms}
    for turn in range(options.rounds):
        for arm in list(arms)[:: 1 if turn % 2 == 0 else -1]:
            runs[arm].append(arms[arm]())
            found = runs[arm][-1]
            print(
                f"{arm[0]}, {arm[1]} worker(s): {found.seconds:.2f} s; {'; '.join(found.programs)}",
                file=sys.stderr,
                flush=True,
            )
    every = [run.losses for found in runs.values() for run in found]
    print(f"{len(every[0])} trials of 120 steps at widths 32 and 64, {options.rounds} round(s)")
    print(*table(runs, options.workers), sep="\n")
    print("final losses of all runs are " + ("equal" if len(set(every)) == 1 else "NOT equal"))
    return 0 if len(set(every)) == 1 else 1


if __name__ == "__main__":
    sys.exit(main())
