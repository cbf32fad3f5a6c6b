"""Trials per hour of this machine, with telescope and without.

    python -m benchmarks.throughput [--quick] [--loads short long wide] [--arms dcba]
        [--into docs/performance.md]

Each arm of `benchmarks.arms` trains the same specs with the same seeds, batches and schedule, on
the same cores with one thread per worker; arms take turns, each in a separate process. It prints a
table per load, and with --into replaces the tables of that page. If a trial's final loss differs
between arms by more than rounding explains, they did not do the same work: it ends with status 1
and writes nothing.

Parts: `run_arm` (a child, its memory watched) · `matmul_peak` · `disagreement` · `Row`, `rows`,
`table`.
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

# nats, between a trial's final losses in any two arms: equal kernels give 1e-6, a forgotten weight
# decay 3e-4 to 2e-2
TOLERANCE = 1e-3
# in arms that may compile: initial weights off by 1e-7 make 2e-2 of 1,200 steps at the highest
# rates (docs/log/2026-speed.md)
ROUNDED_TOLERANCE = 5e-2
COMPILED = "de"  # arms
MEMORY_SECONDS = 0.5  # between measurements of memory
READY_SECONDS = 120.0  # limit for processes to start
USUAL = ["short", "long", "wide"]  # loads
TABLES = re.compile(
    "(?<=<!-- tables of benchmarks.throughput -->\n).*(?=\n<!-- end of tables -->)", re.DOTALL
)  # in a page


def run_arm(arm: str, load: str) -> ArmRun:
    """Run an arm in a separate process; raise with the end of its log if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        out, log = Path(folder, "run.json"), Path(folder, "log")
        command = [sys.executable, "-m", "benchmarks.arms", arm, load, "--out", str(out)]
        began = time.monotonic()
        with log.open("w") as stream:
            child, peak_bytes = (
                subprocess.Popen(
                    command, stdout=stream, stderr=stream, env=os.environ | {"OMP_NUM_THREADS": "1"}
                ),
                0,
            )
            try:
                while child.poll() is None:
                    peak_bytes = max(peak_bytes, tree_bytes(child.pid))
                    time.sleep(MEMORY_SECONDS)
            finally:
                child.terminate()  # no effect if it has ended
        print(
            f"{load}: arm {arm} took {time.monotonic() - began:.0f} s, start and end included",
            file=sys.stderr,
        )
        if child.returncode:
            raise RuntimeError(
                f"arm {arm} ended with status {child.returncode}:\n{log.read_text()[-3000:]}"
            )
        return replace(ArmRun(**json.loads(out.read_text())), peak_bytes=peak_bytes)


def tree_bytes(pid: int) -> int:
    """Resident memory of a process and all its descendants.

    Shared pages count once for each process.
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
    """FLOP/s of all cores at once, with one process and thread on each."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes, begin_together, (context.Barrier(processes),)) as pool:
        return sum(pool.map(matmul_rate, [dtype] * processes, chunksize=1))


def begin_together(all_ready: Barrier) -> None:
    """Initialise a process with one thread; none multiplies before all are ready."""
    torch.set_num_threads(1)
    all_ready.wait(READY_SECONDS)


@dataclass(frozen=True)
class Disagreement:
    """The largest difference between any two runs in a trial's final loss, in nats."""

    exact: float = 0.0  # in arms that compile nothing
    rounded: float = 0.0  # in all arms

    @property
    def tolerable(self) -> bool:
        return self.exact <= TOLERANCE and self.rounded <= ROUNDED_TOLERANCE


def disagreement(runs: Sequence[ArmRun]) -> Disagreement:
    """Compare final losses: all diverged is agreement, some diverged is not."""
    exact, rounded = defaultdict[int, list[float]](list), defaultdict[int, list[float]](list)
    for run in runs:
        for number, loss in zip(run.trials, run.losses, strict=True):
            rounded[number].append(loss)
            if run.arm not in COMPILED:
                exact[number].append(loss)
    return Disagreement(
        *(max(map(span, found.values()), default=0.0) for found in (exact, rounded))
    )


def span(losses: Sequence[float]) -> float:
    """The range of losses; infinite if only some are finite."""
    finite = [loss for loss in losses if math.isfinite(loss)]
    return (
        math.inf
        if 0 < len(finite) < len(losses)
        else max(finite, default=0.0) - min(finite, default=0.0)
    )


@dataclass(frozen=True)
class Row:
    """An arm's figures for one load, the mean of its runs."""

    name: str
    trials_per_hour: float
    flops_per_second: float
    share_of_peak: float
    overhead_s: float  # per trial: core seconds that were not training
    peak_bytes: int
    startup_s: float


def row(load: Load, runs: Sequence[ArmRun], processes: int, peaks: Peaks) -> Row:
    arm, numbers, every = runs[0].arm, runs[0].trials, load.specs()
    specs = [every[number] for number in numbers]
    flops = sum(spec.horizon.steps * step_flops(spec) + evaluation_flops(spec) for spec in specs)
    least_s = sum(
        spec.horizon.steps * peaks.least_step_s(spec) + evaluation_flops(spec) / peaks.training
        for spec in specs
    )
    wall_s, training_s = (
        statistics.mean(getattr(run, name) for run in runs) for name in ("wall_s", "training_s")
    )
    return Row(
        name=f"({arm}) {ARMS[arm].name}"
        + (f", {len(specs)} of them" if len(specs) < len(every) else ""),
        trials_per_hour=3600 * len(specs) / wall_s,
        flops_per_second=flops / wall_s,
        share_of_peak=least_s / wall_s,
        overhead_s=(processes * wall_s - training_s) / len(specs),
        peak_bytes=max(run.peak_bytes for run in runs),
        startup_s=statistics.mean(run.startup_s for run in runs),
    )


def ratio(rows: dict[str, Row], peers: str, target: float | None) -> str:
    """telescope's trials per hour over the best of these peers', beside the target.

    Of (d), then of (e) where it ran.
    """
    if not {*peers, "d"} <= set(rows):
        return "not measured"
    best = max(rows[peer].trials_per_hour for peer in peers)
    values = [rows[arm].trials_per_hour / best for arm in COMPILED if arm in rows]
    judged = [
        f" (target {target:g}: {'reached' if value >= target else 'missed'})" if target else ""
        for value in values
    ]
    said = [f"{value:.2f}{verdict}" for value, verdict in zip(values, judged, strict=True)]
    return ", where its shapes were compiled before ".join(said)


def table(load: Load, runs: Sequence[ArmRun], processes: int, peaks: Peaks) -> str:
    """One load's table, in Markdown."""
    apart = disagreement(runs)
    rows = {
        arm: row(load, [run for run in runs if run.arm == arm], processes, peaks)
        for arm in ARMS
        if arm in {run.arm for run in runs}
    }
    lines = [
        f"### {load.title}",
        "",
        (
            "| | trials per hour | GFLOP/s | share of peak | overhead per trial | peak memory | start-up, apart |"
        ),
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {r.name} | {r.trials_per_hour:,.0f} | {r.flops_per_second / 1e9:.2f} "
        f"| {r.share_of_peak:.1%} "
        f"| {r.overhead_s:.2f} s | {r.peak_bytes / 2**30:.2f} GiB | {r.startup_s:.1f} s |"
        for r in rows.values()
    ]
    others = "".join(peer for peer in "bc" if peer in rows) or "bc"
    lines += [
        "",
        f"telescope against (a): {ratio(rows, 'a', load.against_a)}; "
        f"against {('the best of (b), (c)') if others == 'bc' else f'({others})'}: "
        f"{ratio(rows, others, load.against_best)}. "
        f"Final losses of the peers differ by at most {apart.exact:.1g} nats, "
        f"telescope's by {apart.rounded:.1g}. "
        f"Turns: {', '.join(f'{run.arm} {run.wall_s:.0f} s' for run in runs)}.",
        "",
    ]
    return "\n".join(lines)


def replace_tables(page: Path, text: str) -> None:
    """Put the tables between the page's two markers."""
    page.write_text(TABLES.sub(lambda _: text, page.read_text()))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="4 trials of 30 steps")
    parser.add_argument("--loads", nargs="+", choices=LOADS, default=USUAL)
    parser.add_argument(
        "--arms",
        help="letters of the arms, in the order of their turns (default: each load's own order)",
    )
    parser.add_argument("--into", type=Path, help="page whose tables to replace")
    given = parser.parse_args()
    if given.into and (given.quick or given.arms or given.loads != USUAL):
        parser.error("--into is for the usual loads in their own turns")
    if given.into and not TABLES.search(given.into.read_text()):
        parser.error(f"{given.into} has no place for tables")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before any call to CUDA; children inherit it
    texts, agreed = [], True

    def say(text: str) -> None:
        texts.append(text)
        print(text, flush=True)

    processes = cores()
    peaks = Peaks(matmul_peak(torch.float32, processes), matmul_peak(torch.bfloat16, processes))
    say(
        f"{describe()}\nPeak of matrix products, {processes} processes of one thread: "
        f"{peaks.training / 1e9:,.0f} GFLOP/s in float32, "
        f"{peaks.newton_schulz / 1e9:,.0f} in bfloat16.\n"
    )
    for name in ["quick"] if given.quick else given.loads:
        load = LOADS[name]
        load.specs()  # tokenizes the text, once
        runs = [run_arm(arm, name) for arm in given.arms or load.order]
        agreed &= disagreement(runs).tolerable
        say(table(load, runs, processes, peaks))
    if not agreed:
        tolerated = f"{TOLERANCE:g} nats, telescope's {ROUNDED_TOLERANCE:g}"
        print(f"Final losses differ by more than {tolerated}: the arms did not do the same work.")
        return 1
    if given.into:
        replace_tables(given.into, "\n".join(texts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
