"""The number of trials per hour that telescope and other tools train on this machine.

    python -m benchmarks.throughput [--quick] [--loads short long wide] [--arms dcba]
        [--into docs/performance.md]

An arm is one way to run trials: with telescope, with Ray Tune, or in plain loops. A load is a list
of trials. `benchmarks.arms` defines both. Each arm trains the same trials with the same seeds,
batches and learning-rate schedule, on the same cores, with one thread per worker. The arms take
turns, each in a separate process.

The benchmark prints a table for each load. With --into, the tables also replace the tables of a
Markdown page. If the final loss of a trial differs between arms by more than rounding can explain,
the arms did not do the same work. In this case the exit status is 1, and the page is not changed.
"""

import argparse
import json
import math
import multiprocessing
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.synchronize import Barrier
from pathlib import Path

import psutil
import torch

from benchmarks.arms import ARMS, LOADS, ArmRun, Load
from benchmarks.machine import cores, describe
from benchmarks.steps import Peaks, matmul_rate
from telescope.train.flops import evaluation_flops, step_flops

# The largest permitted difference, in nats, between the final losses of a trial in two arms that
# compile nothing. Arms with equal arithmetic differ by about 1e-6. An arm without weight decay
# would differ by 3e-4 to 2e-2.
TOLERANCE = 1e-3
# The largest permitted difference if one of the arms may compile. At the highest learning rates, a
# difference of 1e-7 in the initial weights grows to 2e-2 in 1,200 steps (docs/log/2026-speed.md).
ROUNDED_TOLERANCE = 5e-2
COMPILED = "de"  # letters of the arms that may compile
MEMORY_SECONDS = 0.5  # time between two measurements of memory
READY_SECONDS = 120.0  # longest time to wait until all processes have started
USUAL = ["short", "long", "wide"]  # the loads that run by default
TABLES = re.compile(  # matches the text between the two markers of a page
    "(?<=<!-- tables of benchmarks.throughput -->\n).*(?=\n<!-- end of tables -->)", re.DOTALL
)


def run_arm(arm: str, load: str) -> ArmRun:
    """Run an arm in a separate process, and measure the memory that it uses.

    Raises RuntimeError with the end of the arm's log if the arm fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        out, log = Path(folder, "run.json"), Path(folder, "log")
        command = [sys.executable, "-m", "benchmarks.arms", arm, load, "--out", str(out)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        start, peak_bytes = time.monotonic(), 0
        with log.open("w") as stream:
            child = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment)
            try:
                while child.poll() is None:
                    peak_bytes = max(peak_bytes, tree_bytes(child.pid))
                    time.sleep(MEMORY_SECONDS)
            finally:
                child.terminate()  # this has no effect if the process has already ended
        seconds = time.monotonic() - start
        print(
            f"load {load}: arm {arm} took {seconds:.0f} s from the start to the end of its process",
            file=sys.stderr,
        )
        if child.returncode:
            raise RuntimeError(
                f"arm {arm} ended with status {child.returncode}:\n{log.read_text()[-3000:]}"
            )
        return replace(ArmRun(**json.loads(out.read_text())), peak_bytes=peak_bytes)


def tree_bytes(pid: int) -> int:
    """The resident memory of a process and all its descendants, in bytes.

    Memory that several processes share counts once for each of them.
    """
    total = 0
    try:
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for process in processes:
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def matmul_peak(dtype: torch.dtype, processes: int) -> float:
    """The total FLOP/s of matrix products in this many processes of one thread.

    All processes run at the same time.
    """
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes, begin_together, (context.Barrier(processes),)) as pool:
        return sum(pool.map(matmul_rate, [dtype] * processes, chunksize=1))


def begin_together(all_ready: Barrier) -> None:
    """Initialise a process with one thread, and wait until all processes are ready."""
    torch.set_num_threads(1)
    all_ready.wait(READY_SECONDS)


@dataclass(frozen=True)
class Disagreement:
    """The largest difference between the final losses of a trial in any two runs, in nats."""

    exact: float = 0.0  # among the runs of arms that compile nothing
    rounded: float = 0.0  # among the runs of all arms

    @property
    def tolerable(self) -> bool:
        return self.exact <= TOLERANCE and self.rounded <= ROUNDED_TOLERANCE


def disagreement(runs: Sequence[ArmRun]) -> Disagreement:
    """Compare the final losses of each trial between the runs.

    If a trial diverges in some runs but not in all, the difference is infinite.
    """

    def largest_span(runs: Sequence[ArmRun]) -> float:
        losses = defaultdict[int, list[float]](list)  # by the trial's position in the load
        for run in runs:
            for number, loss in zip(run.trials, run.losses, strict=True):
                losses[number].append(loss)
        return max(map(span, losses.values()), default=0.0)

    exact = largest_span([run for run in runs if run.arm not in COMPILED])
    return Disagreement(exact, largest_span(runs))


def span(losses: Sequence[float]) -> float:
    """The difference between the largest and the smallest loss.

    It is infinite if some losses are finite and others are not.
    """
    finite = [loss for loss in losses if math.isfinite(loss)]
    if 0 < len(finite) < len(losses):
        return math.inf
    return max(finite, default=0.0) - min(finite, default=0.0)


@dataclass(frozen=True)
class Row:
    """The figures of one arm for one load: the largest memory, and the means of all others."""

    name: str
    trials_per_hour: float
    flops_per_second: float
    share_of_peak: float
    overhead_s: float  # seconds per trial, summed over the cores, that were not spent on training
    peak_bytes: int
    startup_s: float  # seconds from the start of the process to the start of the first trial


def row(load: Load, runs: Sequence[ArmRun], processes: int, peaks: Peaks) -> Row:
    arm, all_specs = runs[0].arm, load.specs()
    specs = [all_specs[number] for number in runs[0].trials]
    flops = sum(spec.horizon.steps * step_flops(spec) + evaluation_flops(spec) for spec in specs)
    least_s = sum(
        spec.horizon.steps * peaks.least_step_s(spec) + evaluation_flops(spec) / peaks.training
        for spec in specs
    )
    wall_s = statistics.mean(run.wall_s for run in runs)
    training_s = statistics.mean(run.training_s for run in runs)
    part = f", {len(specs)} of them" if len(specs) < len(all_specs) else ""
    return Row(
        name=f"({arm}) {ARMS[arm].name}{part}",
        trials_per_hour=3600 * len(specs) / wall_s,
        flops_per_second=flops / wall_s,
        share_of_peak=least_s / wall_s,
        overhead_s=(processes * wall_s - training_s) / len(specs),
        peak_bytes=max(run.peak_bytes for run in runs),
        startup_s=statistics.mean(run.startup_s for run in runs),
    )


def ratio(rows: dict[str, Row], peers: str, target: float | None) -> str:
    """The text for telescope's trials per hour, divided by those of the best of the arms `peers`.

    The text also says whether the ratio reaches the target. The ratio of arm (d) comes first. If
    arm (e) ran, its ratio follows.
    """
    if not {*peers, "d"} <= set(rows):
        return "not measured"
    best = max(rows[peer].trials_per_hour for peer in peers)

    def judged(value: float) -> str:
        verdict = "reached" if target and value >= target else "missed"
        return f"{value:.2f} (target {target:g}: {verdict})" if target else f"{value:.2f}"

    ratios = [judged(rows[arm].trials_per_hour / best) for arm in COMPILED if arm in rows]
    return ", where its shapes were compiled before ".join(ratios)


def table(load: Load, runs: Sequence[ArmRun], processes: int, peaks: Peaks) -> str:
    """The table of one load, in Markdown."""
    differences = disagreement(runs)
    rows = {
        arm: row(load, [run for run in runs if run.arm == arm], processes, peaks)
        for arm in ARMS
        if arm in {run.arm for run in runs}
    }
    lines = [
        f"### {load.title}",
        "",
        (
            "| | trials per hour | GFLOP/s | share of peak | overhead per trial | peak memory "
            "| start-up, apart |"
        ),
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {arm.name} | {arm.trials_per_hour:,.0f} | {arm.flops_per_second / 1e9:.2f} "
        f"| {arm.share_of_peak:.1%} "
        f"| {arm.overhead_s:.2f} s | {arm.peak_bytes / 2**30:.2f} GiB | {arm.startup_s:.1f} s |"
        for arm in rows.values()
    ]
    peers = "".join(peer for peer in "bc" if peer in rows) or "bc"
    peers_text = "the best of (b), (c)" if peers == "bc" else f"({peers})"
    turns = ", ".join(f"{run.arm} {run.wall_s:.0f} s" for run in runs)
    lines += [
        "",
        f"telescope against (a): {ratio(rows, 'a', load.against_a)}; "
        f"against {peers_text}: {ratio(rows, peers, load.against_best)}. "
        f"Final losses of the peers differ by at most {differences.exact:.1g} nats, "
        f"telescope's by {differences.rounded:.1g}. Turns: {turns}.",
        "",
    ]
    return "\n".join(lines)


def replace_tables(page: Path, text: str) -> None:
    """Replace the text between the two markers of a page by the tables."""
    page.write_text(TABLES.sub(lambda _: text, page.read_text()))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="only check that it runs, with 4 trials of 30 steps"
    )
    parser.add_argument("--loads", nargs="+", choices=LOADS, default=USUAL)
    parser.add_argument(
        "--arms",
        help="letters of the arms to run, in the order of their turns; by default, each load has "
        "its own arms and order",
    )
    parser.add_argument("--into", type=Path, help="page in which the new tables replace the old")
    arguments = parser.parse_args()
    if arguments.into and (arguments.quick or arguments.arms or arguments.loads != USUAL):
        parser.error("--into cannot be combined with --quick, --arms or other loads than the usual")
    if arguments.into and not TABLES.search(arguments.into.read_text()):
        parser.error(f"{arguments.into} does not have the two markers between which tables stand")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before any call to CUDA; children inherit it
    texts, agreed = [], True

    def report(text: str) -> None:
        texts.append(text)
        print(text, flush=True)

    processes = cores()
    peaks = Peaks(matmul_peak(torch.float32, processes), matmul_peak(torch.bfloat16, processes))
    report(
        f"{describe()}\nPeak of matrix products, {processes} processes of one thread: "
        f"{peaks.training / 1e9:,.0f} GFLOP/s in float32, "
        f"{peaks.newton_schulz / 1e9:,.0f} in bfloat16.\n"
    )
    for name in ["quick"] if arguments.quick else arguments.loads:
        load = LOADS[name]
        load.specs()  # tokenises the text, so that no arm has to do it
        runs = [run_arm(arm, name) for arm in arguments.arms or load.order]
        agreed &= disagreement(runs).tolerable
        report(table(load, runs, processes, peaks))
    if not agreed:
        limits = f"{TOLERANCE:g} nats, or those of telescope by more than {ROUNDED_TOLERANCE:g}"
        print(f"Final losses differ by more than {limits}. The arms did not do the same work.")
        return 1
    if arguments.into:
        replace_tables(arguments.into, "\n".join(texts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
