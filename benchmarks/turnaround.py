"""Idle time of a warm worker between two trials.

    python -m benchmarks.turnaround [--trials 60] [--quick]

The idle time is the time from the end of one trial, after its held-out loss is computed, to the
first step of the next trial. In telescope's service, this time includes the write to the database,
the plan of the next trials, the assignment of a trial to the worker, and the building of the model.
The service has a coordinator with SQLite and one Ray worker. For comparison, the benchmark also
trains the same trials in a bare loop in one process, where the idle time is only the time to build
the model.

The time of a trial's first step is computed: it is the end of the trial minus the trial's training
seconds, which count from the first step.
"""

import argparse
import itertools
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import torch

import migrations
from api.coordinator.loop import Coordinator
from api.store.engines import CoordinatorLock
from api.store.record import CoordinatorStore
from benchmarks.arguments import parsed
from benchmarks.machine import describe
from telescope.studies import registry
from telescope.train.loop import train_one
from workers.on_ray.actors import RayExecutor

DOCUMENT = {
    "kind": "telescope",
    "name": "turn-around",
    "model": {
        "base_width": 32,
        "calibration_width": 32,
        "target_width": 32,
        "depth": 2,
        "head_dim": 16,
    },
    "data": {"corpus": "python-stdlib", "context": 64},
    "horizon": {"steps": 10, "batch_tokens": 512, "evaluation_tokens": 2048},
    "schedule": "paper",
}


def gaps(ended: Sequence[float], seconds: Sequence[float]) -> list[float]:
    """Return the seconds from each trial's end to the first step of the next trial.

    `ended` has the Unix times at which the trials ended, in ascending order. `seconds` has the
    training seconds of the same trials. The first three values are left out, since the process is
    still warming up.
    """
    pairs = zip(itertools.pairwise(ended), seconds[1:], strict=True)
    return [end - training - previous_end for (previous_end, end), training in pairs][3:]


def service(document: dict[str, object]) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/telescope.db"
        migrations.upgrade(url)
        record, executor, stop = CoordinatorStore(url), RayExecutor(1), threading.Event()
        study = registry.resolved(registry.parse(document))
        job, _ = record.create_job(registry.to_document(study))
        coordinator = threading.Thread(
            target=Coordinator(record, executor, Path(folder) / "checkpoints").run,
            args=(stop, CoordinatorLock(url)),
        )
        coordinator.start()
        try:
            while not record.job(job.id).state.terminal:
                time.sleep(0.2)
        finally:
            stop.set()
            coordinator.join()
            executor.close()
        times = sorted(
            (trial.ended_at.timestamp(), trial.seconds)
            for trial in record.trials(job.id, 1000).items
            if trial.ended_at
        )
        ended, seconds = zip(*times, strict=True)
        return gaps(ended, seconds)


def bare(document: dict[str, object]) -> list[float]:
    study = registry.resolved(registry.parse(document))
    ended, seconds = [], []
    for spec in study.plan([]).start:
        seconds.append(list(train_one(spec))[-1].seconds)
        ended.append(time.time())
    return gaps(ended, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=60)
    count = parsed(parser, trials=6).trials
    torch.set_num_threads(1)
    document = {**DOCUMENT, "search": {"lr": {"low": 0.01, "high": 0.1, "points": count}}}
    print(describe())
    print(
        f"{count} trials of 10 steps at width 32; "
        "milliseconds from the end of a trial to the first step of the next trial"
    )
    print(f"{'':<32}{'median':>8}{'p95':>8}{'max':>8}")
    for name, measure in (("bare loop", bare), ("coordinator, SQLite, Ray worker", service)):
        gaps_ms = sorted(1000 * gap for gap in measure(document))
        median, p95 = statistics.median(gaps_ms), gaps_ms[int(0.95 * len(gaps_ms))]
        print(f"{name:<32}{median:>8.1f}{p95:>8.1f}{gaps_ms[-1]:>8.1f}")


if __name__ == "__main__":
    main()
