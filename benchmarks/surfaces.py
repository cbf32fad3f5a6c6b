"""Correctness, coverage and cost of answers on closed-form surfaces.

    python -m benchmarks.surfaces [--surfaces 200] [--only NAME ...] [--processes N] [--offset 0]
        [--quick]

A surface gives the loss as a formula of the hyperparameters and the width, in place of training, so
that the right answer is known. For each scenario of `surfaces.scenarios`, the benchmark runs a
whole study on up to 200 random surfaces, and prints a row of figures. On some scenarios it also
runs the published rule (Algorithm 1 of arXiv 2505.02222) on the same surfaces, for comparison. All
cores are used.

The columns of the table are:

- n: the number of studies
- <=0.5: the answers with an error of the learning rate of at most half an octave, in %
- rms: the root mean square error of the learning rate, in octaves
- regret: the mean excess over the lowest possible loss at the target width, in % of the loss
- cover %: how often the 90 % intervals contain the optimum, for each hyperparameter
- resolved: the answers with the verdict "resolved", in %
- wrong: the answers that are called resolved with an error of more than half an octave, in %
- dear: the answers whose other hyperparameters are called good but cost too much loss, in %
- cost: the mean cost of a study, in runs at the base width
- share: the cost divided by the cost of the published rule
- s: seconds

Each scenario has requirements (`surfaces.scenarios.Floors`). The last column has "pass", or the
names of the requirements that are missed. The exit status is 1 if any requirement is missed.
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
    """The line of text for a row of the table."""
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
    """Two scenarios that run the published rule on the surfaces of a scenario."""
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
    """Yield a row for each scenario, then a row for each run of the published rule.

    The seconds of a row are the time since the row before.
    """
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
    """Print the table. Returns 1 if a requirement is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--surfaces",
        type=int,
        default=200,
        help="largest number of surfaces per scenario; scenarios with four or five "
        "hyperparameters have at most 40",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="NAME",
        help="run only the scenarios whose names contain one of these texts",
    )
    parser.add_argument("--processes", type=int, default=cores())
    parser.add_argument(
        "--offset",
        type=int,
        default=0,
        help="number of the first surface; while developing, use surfaces from 10,000 on, so that "
        "the surfaces of the final run stay unseen",
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
