"""Correctness, coverage and cost of answers on closed-form surfaces.

    python -m benchmarks.surfaces [--surfaces 200] [--only NAME ...] [--processes N] [--offset 0]
        [--quick]

It runs whole studies on closed-form surfaces (`surfaces.scenarios`) with
`telescope.studies.run_study`: 200 random surfaces per scenario, and the published rule on the same
surfaces, on all cores. Every row has floors, the values that it must reach; the exit status is 1 if
a row misses one.
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

HEAD = (
    f"{'scenario':36}    n  <=0.5    rms  regret {'cover %':>14} "
    "resolved  wrong  dear    cost  share     s"
)


def line(row: Row) -> str:
    """A row of the table, below HEAD."""
    rms = math.sqrt(row.mean(lambda outcome: outcome.error**2))
    coverage = "/".join(
        f"{100 * row.mean(lambda outcome, axis=axis: outcome.covered[axis]):.0f}"
        for axis in range(row.scenario.axes)
    )
    figures = (
        f"{len(row.outcomes):4d} {100 * row.within:6.1f} {rms:6.3f} "
        f"{row.mean(lambda outcome: outcome.regret):7.4f} {coverage:>14} "
        f"{100 * row.resolved:8.1f} {100 * row.wrong:6.1f} {100 * row.dear:5.1f} "
        f"{row.mean(lambda outcome: outcome.cost):7.1f} "
        f"{row.share:6.2f}"
    )
    verdict = f"FAIL: {', '.join(row.missed)}" if row.missed else "pass"
    return f"{row.scenario.name:36} {figures} {row.seconds:5.0f}  {verdict}"


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
    """A row per scenario, then a row per peer; each has the seconds since the row before."""
    with_peers = (
        *scenarios,
        *(peer for scenario in scenarios if scenario.peers for peer in peers(scenario)),
    )
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        # All studies are submitted at once, so that no process waits for the end of a row.
        results = [
            pool.map(
                partial(outcome, scenario),
                range(offset, offset + min(surfaces, scenario.studies)),
            )
            for scenario in with_peers
        ]
        start = time.perf_counter()
        for scenario, outcomes in zip(with_peers, results, strict=True):
            row = Row(scenario, tuple(outcomes), time.perf_counter() - start)
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
        help="surfaces per scenario, at most; scenarios with four or five axes have 40",
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
        help="number of the first surface; use surfaces from 10,000 on while developing",
    )
    arguments = parsed(parser, surfaces=1)
    scenarios = [
        scenario
        for scenario in SCENARIOS
        if not arguments.only or any(name in scenario.name for name in arguments.only)
    ]
    os.environ["OMP_NUM_THREADS"] = "1"  # child processes inherit it
    print(HEAD, flush=True)
    failed = False
    for row in rows(scenarios, arguments.processes, arguments.offset, arguments.surfaces):
        failed |= bool(row.missed)
        print(line(row), flush=True)
    return 1 if failed and not arguments.quick else 0


if __name__ == "__main__":
    sys.exit(main())
