"""Correctness, coverage and cost of answers on closed-form surfaces.

    python -m benchmarks.surfaces [--surfaces 200] [--only NAME ...] [--processes N] [--offset 0]
        [--quick]

It runs whole studies on closed-form surfaces (`surfaces.scenarios`): 200 random surfaces per
scenario, each through `telescope.studies.run_study`, and the published rule on the same surfaces,
on all cores. Every row has floors; a missed floor makes the exit status 1.
"""

import argparse
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial

from benchmarks.arguments import parsed
from benchmarks.machine import cores
from surfaces.scenarios import SCENARIOS, Floors, Row, Scenario, outcome

HEAD = f"{'scenario':36}    n  <=0.5    rms  regret {'cover %':>14} resolved  wrong  dear    cost  share     s"


def line(row: Row) -> str:
    """A row of the table, below HEAD."""
    rms = math.sqrt(row.mean(lambda one: one.error**2))
    cover = "/".join(
        f"{100 * row.mean(lambda one, i=i: one.covered[i]):.0f}" for i in range(row.scenario.axes)
    )
    figures = (
        f"{len(row.outcomes):4d} {100 * row.within:6.1f} {rms:6.3f} "
        f"{row.mean(lambda one: one.regret):7.4f} {cover:>14} "
        f"{100 * row.resolved:8.1f} {100 * row.wrong:6.1f} {100 * row.dear:5.1f} "
        f"{row.mean(lambda one: one.cost):7.1f} "
        f"{row.share:6.2f}"
    )
    return f"{row.scenario.name:36} {figures} {row.seconds:5.0f}  {'FAIL: ' + ', '.join(row.missed) if row.missed else 'pass'}"


def peers(scenario: Scenario) -> Iterator[Scenario]:
    """The published rule on the same surfaces."""
    for points in ("strict", "paper"):
        changes = scenario.changes | {"schedule": "paper", "paper": {"points": points}}
        yield replace(
            scenario,
            name=f"schedule paper, {points}, {scenario.name}",
            changes=changes,
            floors=Floors(),
            peers=False,
        )


def rows(
    scenarios: Sequence[Scenario], processes: int, offset: int, surfaces: int
) -> Iterator[Row]:
    """Each scenario on its surfaces, then its peer, with the seconds since the previous row."""
    every = (
        *scenarios,
        *(peer for scenario in scenarios if scenario.peers for peer in peers(scenario)),
    )
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        # All are handed out at once, so that no process waits for the end of a row.
        found = [
            pool.map(partial(outcome, one), range(offset, offset + min(surfaces, one.studies)))
            for one in every
        ]
        start = time.perf_counter()
        for one, outcomes in zip(every, found, strict=True):
            row = Row(one, tuple(outcomes), time.perf_counter() - start)
            start += row.seconds
            yield row


def main() -> int:
    """Print the table; return 1 if a floor is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--surfaces",
        type=int,
        default=200,
        help="surfaces per scenario, at most; scenarios of four and five axes have 40",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="NAME",
        help="scenarios whose name contains one of these",
    )
    parser.add_argument("--processes", type=int, default=cores())
    parser.add_argument(
        "--offset",
        type=int,
        default=0,
        help="number of the first surface; surfaces from 10,000 on are for development",
    )
    asked = parsed(parser, surfaces=1)
    chosen = [
        one for one in SCENARIOS if not asked.only or any(name in one.name for name in asked.only)
    ]
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes to come
    print(HEAD, flush=True)
    missed = 0
    for row in rows(chosen, asked.processes, asked.offset, asked.surfaces):
        missed += bool(row.missed)
        print(line(row), flush=True)
    return 1 if missed and not asked.quick else 0


if __name__ == "__main__":
    sys.exit(main())
