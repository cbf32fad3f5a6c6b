"""Benchmark of tokens: the delay of a training step, and the memory copies of a corpus.

    python -m benchmarks.data [--million-tokens 50] [--processes 4] [--quick]

A corpus of random tokens, larger than a processor's cache, is memory-mapped by several processes as
trials map theirs (`telescope.data.batches.open_tokens`), and read completely. It prints the
microseconds per batch (its share of a training step is in the tables of `benchmarks.steps`), and
the resident memory that the mappings add to each process, private and shared: shared pages are the
kernel's single copy, whichever process maps it. Only Linux reports this (/proc/self/smaps_rollup).
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arguments import parsed
from benchmarks.machine import describe
from telescope.data import batches
from telescope.trials.data import DataSpec

CONTEXT = 64


@dataclass(frozen=True)
class Reading:
    """The measurements of one process."""

    batch_s: float
    private_bytes: int  # that it holds alone, since it opened the tokens
    shared_bytes: int


def smaps() -> tuple[int, int]:
    """(private, shared) bytes of this process in memory."""
    sizes = {"Private": 0, "Shared": 0}
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]:
        kind, _, rest = line.partition("_")
        if kind in sizes and rest.startswith(("Clean", "Dirty")):
            sizes[kind] += 1024 * int(rest.split()[1])
    return sizes["Private"], sizes["Shared"]


def read(spec: DataSpec, barrier: Any, answers: Any) -> None:
    """Open the tokens, read them all while other processes do, and time batches."""
    batches.batch(batches.TokenSplit((np.zeros(1000, np.uint16),), (1.0,)), 0, 0, 8, CONTEXT)
    barrier.wait()  # all have loaded their libraries
    private_before, shared_before = smaps()
    train = batches.open_tokens(spec).train
    int(train.parts[0][::64].astype(np.int64).sum())  # a token per page at least
    began = time.perf_counter()
    for step in range(200):
        batches.batch(train, 0, step, 512 // CONTEXT, CONTEXT)
    batch_s = (time.perf_counter() - began) / 200
    barrier.wait()  # all have it in memory now
    private, shared = smaps()
    answers.put(Reading(batch_s, private - private_before, shared - shared_before))
    barrier.wait()


@contextmanager
def corpus(tokens: int) -> Iterator[DataSpec]:
    """A token file of this size, resolved, in a temporary TELESCOPE_HOME."""
    before = os.environ.get("TELESCOPE_HOME")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "random.bin")
        np.random.default_rng(0).integers(0, 50_000, tokens, np.uint16).tofile(file)
        os.environ["TELESCOPE_HOME"] = folder
        try:
            yield batches.resolve(DataSpec(corpus=str(file), context=CONTEXT))
        finally:
            os.environ.pop("TELESCOPE_HOME") if before is None else os.environ.update(
                TELESCOPE_HOME=before
            )


def readings(spec: DataSpec, processes: int) -> list[Reading]:
    """The measurements of several processes that run at the same time."""
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(processes), context.Queue()
    readers = [
        context.Process(target=read, args=(spec, barrier, answers)) for _ in range(processes)
    ]
    for reader in readers:
        reader.start()
    found = [answers.get(timeout=120) for _ in readers]
    for reader in readers:
        reader.join()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--million-tokens", type=int, default=50)
    parser.add_argument("--processes", type=int, default=4)
    given = parsed(parser, million_tokens=1, processes=2)
    print(describe())
    tokens = given.million_tokens * 10**6
    with corpus(tokens) as spec:
        print(
            f"{given.processes} processes, one file of {tokens * 2 / 2**20:.0f} MiB of tokens, batches of 512 tokens"
        )
        for reading in readings(spec, given.processes):
            private, shared = reading.private_bytes / 2**20, reading.shared_bytes / 2**20
            print(
                f"batch {1e6 * reading.batch_s:.0f} us; memory since opening: {private:.0f} MiB private, {shared:.0f} MiB shared"
            )


if __name__ == "__main__":
    main()
