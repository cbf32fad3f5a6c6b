"""Idle time of a warm worker between two trials.

    python -m benchmarks.turnaround [--trials 60] [--quick]

The turn-around is the time from a trial's last step (its held-out loss included) to the next
trial's first step; it includes the database's commit, the plan, the hand-out and the building of
the model. It is measured with a real coordinator on SQLite and a real Ray with one worker; in the
same run, the same trials run in a bare loop in one process, whose turn-around is only the building
of the model.

Both are computed alike: a trial's training seconds count from its first step, so it began them
`seconds` before it ended.
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
    """Seconds between a trial's end and the next one's first step, without three warm-up trials."""
    pairs = zip(itertools.pairwise(ended), seconds[1:], strict=True)
    return [later - own - earlier for (earlier, later), own in pairs][3:]


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
        trials = sorted(
            record.trials(job.id, 1000).items,
            key=lambda trial: trial.ended_at.timestamp() if trial.ended_at else 0.0,
        )
        return gaps(
            [t.ended_at.timestamp() for t in trials if t.ended_at], [t.seconds for t in trials]
        )


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
        f"{count} trials of 10 steps at width 32; milliseconds from a trial's last step to the next one's first"
    )
    print(f"{'':<32}{'median':>8}{'p95':>8}{'max':>8}")
    for name, measure in (("bare loop", bare), ("coordinator, SQLite, Ray worker", service)):
        found = sorted(1000 * gap for gap in measure(document))
        print(
            f"{name:<32}{statistics.median(found):>8.1f}{found[int(0.95 * len(found))]:>8.1f}{found[-1]:>8.1f}"
        )


if __name__ == "__main__":
    main()
