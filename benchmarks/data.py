"""Cost of reading tokens: time per batch, and memory per process.

    python -m benchmarks.data [--million-tokens 50] [--processes 4] [--quick]

Several processes open one file of random tokens in the way in which trials open their tokens
(`telescope.data.batches.open_tokens`), which maps the file into memory, and read the whole file.
The file is larger than a processor's cache.

For each process the benchmark prints the microseconds that reading a batch takes, and the private
and the shared memory that the open file adds. Shared memory exists only once for all processes.
Only Linux reports these sizes (/proc/self/smaps_rollup). `benchmarks.steps` prints the time to read
a batch as a share of a training step.
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

    batch_s: float  # mean seconds to read a batch
    private_bytes: int  # private memory that opening and reading the tokens added
    shared_bytes: int  # shared memory that opening and reading the tokens added


def smaps() -> tuple[int, int]:
    """The resident memory of this process in bytes: (private, shared)."""
    sizes = {"Private": 0, "Shared": 0}
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]:
        kind, _, size = line.partition("_")
        if kind in sizes and size.startswith(("Clean", "Dirty")):
            sizes[kind] += 1024 * int(size.split()[1])
    return sizes["Private"], sizes["Shared"]


def read(spec: DataSpec, barrier: Any, answers: Any) -> None:
    """Open and read the tokens at the same time as the other processes, and time batches.

    The measurements are put into the queue `answers`.
    """
    batches.batch(batches.TokenSplit((np.zeros(1000, np.uint16),), (1.0,)), 0, 0, 8, CONTEXT)
    barrier.wait()  # until all processes have loaded their libraries
    private_before, shared_before = smaps()
    train = batches.open_tokens(spec).train
    int(train.parts[0][::64].astype(np.int64).sum())  # reads from every memory page of the file
    start = time.perf_counter()
    for step in range(200):
        batches.batch(train, 0, step, 512 // CONTEXT, CONTEXT)
    batch_s = (time.perf_counter() - start) / 200
    barrier.wait()  # until all processes have the corpus in memory
    private, shared = smaps()
    answers.put(Reading(batch_s, private - private_before, shared - shared_before))
    barrier.wait()


@contextmanager
def corpus(tokens: int) -> Iterator[DataSpec]:
    """Make a corpus of random tokens, and yield its DataSpec.

    While the corpus exists, TELESCOPE_HOME is a temporary folder that holds the corpus.
    """
    home = os.environ.get("TELESCOPE_HOME")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "random.bin")
        np.random.default_rng(0).integers(0, 50_000, tokens, np.uint16).tofile(file)
        os.environ["TELESCOPE_HOME"] = folder
        try:
            yield batches.resolve(DataSpec(corpus=str(file), context=CONTEXT))
        finally:
            del os.environ["TELESCOPE_HOME"]
            if home is not None:
                os.environ["TELESCOPE_HOME"] = home


def readings(spec: DataSpec, processes: int) -> list[Reading]:
    """The measurements of several processes that run at the same time."""
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(processes), context.Queue()
    readers = [
        context.Process(target=read, args=(spec, barrier, answers)) for _ in range(processes)
    ]
    for reader in readers:
        reader.start()
    measurements = [answers.get(timeout=120) for _ in readers]
    for reader in readers:
        reader.join()
    return measurements


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--million-tokens", type=int, default=50)
    parser.add_argument("--processes", type=int, default=4)
    arguments = parsed(parser, million_tokens=1, processes=2)
    print(describe())
    tokens = arguments.million_tokens * 10**6
    with corpus(tokens) as spec:
        print(
            f"{arguments.processes} processes, one file of {tokens * 2 / 2**20:.0f} MiB of tokens, "
            "batches of 512 tokens"
        )
        for reading in readings(spec, arguments.processes):
            private, shared = reading.private_bytes / 2**20, reading.shared_bytes / 2**20
            print(
                f"batch {1e6 * reading.batch_s:.0f} us; "
                f"memory since opening: {private:.0f} MiB private, {shared:.0f} MiB shared"
            )


if __name__ == "__main__":
    main()
