"""Coverage of the 90 % intervals that telescope gives for tokens and batch sizes.

    python -m benchmarks.frontier [--draws 400] [--only NAME ...] [--offset 0] [--quick]

The coverage is the share of intervals that contain the true value. It must lie between 85 and 95 %.

In each scenario the benchmark makes many draws. A draw is a random pair of laws, one for AdamW and
one for Muon, each of which gives the tokens to a loss at each batch size (`surfaces.batch_laws`).
From each law come noisy loss curves of 200 points, at seven batch sizes of 256 to 16k tokens, and
telescope estimates the following quantities from the curves:

- T, the tokens to the target loss at each batch size
- B*, the critical batch size, from which on larger batches need more tokens; B_crit, the same for
  laws of McCandlish's form
- B_tok, the largest batch size that needs at most 2 % more tokens than the smallest batches
- slope, the exponent of the steps against the batch size beyond B*
- R, AdamW's T divided by Muon's T, at each batch size
- gap / T Muon, the difference between AdamW's T and Muon's T, divided by Muon's T
- trend of R, the exponent of R against the batch size

For each quantity the benchmark prints the coverage in %, and in brackets the median half-width of
the intervals in % of the quantity. For the slope, the trend and the gap, which may be 0, the
half-width is multiplied by 100 instead. For quantities at each batch size, the coverage at the
batch size with the worst coverage follows. The last line is the time in which telescope computes
the frontier of 100,000 points. The frontier consists of the points that no other point beats in
both devices and hours.

The exit status is 1 if in a required scenario a coverage lies outside 85 to 95 %, or if the
frontier takes 50 ms or more. The other scenarios violate assumptions of the estimates, and show the
effect.
"""

import argparse
import itertools
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.arguments import parsed
from surfaces.batch_laws import BATCHES, TARGET, Law, Noise, SmoothLaw, curves, law
from telescope.statistics.batch_readings import Readings, tokens_at
from telescope.statistics.critical_batch import TOLERANCE, piecewise, smooth
from telescope.statistics.estimates import Estimate
from telescope.statistics.frontier import Frontier
from telescope.statistics.token_ratio import ratios, trend
from telescope.statistics.tokens_to_loss import smoothed

ALLOWED_COVERAGE = (85.0, 95.0)  # %
POINTS, MOST_MS = 100_000, 50.0


@dataclass(frozen=True)
class Scenario:
    """The noise of the loss curves, and the number of seeds at each batch size.

    In the names, "0.5 % a point" is noise that differs at every point of a curve. Noise "a run" is
    common to all points of a run, and noise "a batch" is common to all runs at a batch size.
    """

    name: str
    noise: Noise
    seeds: int
    required: bool = True
    smooth: bool = False  # True if the laws are of McCandlish's form


SCENARIOS = (
    Scenario("0.5 % a point, 5 seeds", Noise(0.005), 5),
    Scenario("0.5 % a point, 4 seeds", Noise(0.005), 4),
    Scenario("0.5 % a point, 3 seeds", Noise(0.005), 3),
    Scenario("0.5 % a point, 2 seeds", Noise(0.005), 2, required=False),
    Scenario("0.5 % a point + 0.1 % a run, 5 seeds", Noise(0.005, run=0.001), 5),
    Scenario("0.5 % a point + 0.1 % a run, 3 seeds", Noise(0.005, run=0.001), 3),
    Scenario("0.5 % a run, 5 seeds", Noise(run=0.005), 5),
    Scenario("0.5 % a run, 3 seeds", Noise(run=0.005), 3),
    Scenario("0.5 % a point, 5 seeds, laws of McCandlish's form", Noise(0.005), 5, smooth=True),
    Scenario(
        "2 % a point falling as B^-1/2, 5 seeds", Noise(0.02, batch_power=0.5), 5, required=False
    ),
    Scenario(
        "0.5 % a point + 0.1 % a batch, 5 seeds", Noise(0.005, batch=0.001), 5, required=False
    ),
)


@dataclass(frozen=True)
class Check:
    """The comparison of one interval with the truth."""

    quantity: str
    batch_tokens: float  # batch size of the quantity; 0 if it belongs to no single batch size
    held: bool  # True if the interval contains the true value
    half_width: float  # of the interval, see `relative` and `absolute`; inf if an end is open


def relative(quantity: str, estimate: Estimate, truth: float, batch_tokens: float = 0.0) -> Check:
    """Check an estimate of a positive number. The half-width is a share of the number.

    It is the square root of the ratio of the interval's ends, minus 1.
    """
    half = math.sqrt(estimate.high / estimate.low) - 1 if estimate.low > 0 else math.inf
    return Check(quantity, batch_tokens, estimate.low <= truth <= estimate.high, half)


def absolute(quantity: str, estimate: Estimate, truth: float, batch_tokens: float = 0.0) -> Check:
    """Check an estimate of a number that may be 0. The half-width is in units of the number."""
    held = estimate.low <= truth <= estimate.high
    return Check(quantity, batch_tokens, held, estimate.half_width)


def laws(number: int, smooth: bool) -> tuple[Law, Law]:
    """Random laws of AdamW and Muon. Equal numbers give equal laws.

    At small batch sizes, Muon needs 15 % fewer tokens than AdamW. Muon's critical batch size is
    usually the larger one. If `smooth`, the laws are of McCandlish's form.
    """
    adamw, muon = law(number, 700, 2200), law(number + 1_000_000, 1100, 4500)
    muon = replace(muon, tokens=0.85 * adamw.tokens)
    return (SmoothLaw(**vars(adamw)), SmoothLaw(**vars(muon))) if smooth else (adamw, muon)


def read(truth: Law, scenario: Scenario, number: int) -> Readings:
    """The tokens to the target loss, as read from noisy curves that follow a law."""
    noisy_curves = curves(truth, scenario.noise, scenario.seeds, number)
    return Readings.of(
        np.repeat(BATCHES, scenario.seeds),
        np.tile(np.arange(scenario.seeds), len(BATCHES)),
        smoothed(noisy_curves).crossings(TARGET),
    )


def optimizer_checks(
    name: str, truth: Law, scenario: Scenario, readings: Readings
) -> Iterator[Check]:
    """Check the intervals of all quantities of one optimizer."""
    for row, tokens in zip(tokens_at(readings), truth.tokens_to(TARGET, BATCHES), strict=True):
        yield relative(f"T {name}", row.tokens, float(tokens), row.batch_tokens)
    piecewise_fit, smooth_fit = piecewise(readings), smooth(readings)
    assert piecewise_fit is not None
    assert smooth_fit is not None
    if scenario.smooth:
        yield relative(f"B_crit {name}", smooth_fit.critical_batch, truth.critical_batch)
        return
    token_optimal = truth.token_optimal(TOLERANCE)
    yield relative(f"B* {name}", piecewise_fit.critical_batch, truth.critical(TARGET))
    yield relative(f"B_tok {name}", piecewise_fit.token_optimal_batch, token_optimal)
    yield absolute(f"slope {name}", piecewise_fit.slope, truth.slope)


def checks(scenario: Scenario, number: int) -> Iterator[Check]:
    """Check every interval of the draw with this number."""
    truths = laws(number, scenario.smooth)
    adamw, muon = (read(truth, scenario, 2 * number + i) for i, truth in enumerate(truths))
    yield from optimizer_checks("AdamW", truths[0], scenario, adamw)
    yield from optimizer_checks("Muon", truths[1], scenario, muon)
    tokens = (truth.tokens_to(TARGET, BATCHES) for truth in truths)
    for row, adamw_tokens, muon_tokens in zip(ratios(adamw, muon), *tokens, strict=True):
        ratio = float(adamw_tokens / muon_tokens)
        yield relative("R", row.ratio, ratio, row.batch_tokens)
        ends = (row.gap_tokens.value, row.gap_tokens.low, row.gap_tokens.high)
        gap = Estimate(*(float(end / muon_tokens) for end in ends))
        yield absolute("gap / T Muon", gap, float(adamw_tokens / muon_tokens - 1), row.batch_tokens)
    critical = [fit.critical_batch.value for fit in map(piecewise, (adamw, muon)) if fit]
    ratio_trend = trend(adamw, muon, max(critical))
    if ratio_trend and not scenario.smooth:
        yield absolute("trend of R", ratio_trend.exponent, truths[0].slope - truths[1].slope)


@dataclass(frozen=True)
class Row:
    """The intervals of one quantity in many draws."""

    quantity: str
    checks: tuple[Check, ...]

    @staticmethod
    def coverage(checks: Sequence[Check]) -> float:
        """The share of intervals that hold the truth, in %."""
        return 100 * float(np.mean([check.held for check in checks]))

    @property
    def batches(self) -> set[float]:
        return {check.batch_tokens for check in self.checks}

    @property
    def worst(self) -> float:
        """The coverage at the batch size whose coverage lies furthest from 90 %."""
        coverages = [
            self.coverage([check for check in self.checks if check.batch_tokens == batch])
            for batch in self.batches
        ]
        return max(coverages, key=lambda coverage: abs(coverage - 90))

    @property
    def missed(self) -> bool:
        """True if the coverage lies outside the allowed range."""
        low, high = ALLOWED_COVERAGE
        return not low <= self.coverage(self.checks) <= high

    def __str__(self) -> str:
        half = 100 * float(np.median([check.half_width for check in self.checks]))
        worst = f" worst {self.worst:.1f}" if len(self.batches) > 1 else ""
        return f"{self.quantity} {self.coverage(self.checks):.1f} ({half:.1f}){worst}"


def rows(scenario: Scenario, draws: int, offset: int) -> list[Row]:
    """A row per quantity; `offset` is the number of the first draw."""
    numbers = range(offset, offset + draws)
    by_quantity: dict[str, list[Check]] = {}
    for check in itertools.chain.from_iterable(checks(scenario, number) for number in numbers):
        by_quantity.setdefault(check.quantity, []).append(check)
    return [Row(quantity, tuple(group)) for quantity, group in by_quantity.items()]


def frontier_ms() -> float:
    """The median time in milliseconds to compute the frontier of `POINTS` points.

    There are two cases, of which the slower one counts: scattered points, and points of which all
    lie on the frontier. Each case is timed nine times.
    """
    rng, medians = np.random.default_rng(0), []
    devices = rng.uniform(1, 10_000, POINTS)
    for hours in (rng.uniform(1, 100, POINTS), 1e4 / devices):
        seconds = []
        for _ in range(9):
            start = time.perf_counter()
            Frontier.of(devices, hours)
            seconds.append(time.perf_counter() - start)
        medians.append(1000 * float(np.median(seconds)))
    return max(medians)


def main() -> int:
    """Print the coverages. Returns 1 if a required scenario fails or the frontier is too slow."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=400, help="draws per scenario")
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="NAME",
        help="run only the scenarios whose names contain one of these texts",
    )
    parser.add_argument(
        "--offset",
        type=int,
        default=0,
        help="number of the first draw; while developing, use draws from 10,000 on, so that the "
        "draws of the final run stay unseen",
    )
    arguments = parsed(parser, draws=4)
    failed = False
    for scenario in SCENARIOS:
        if arguments.only and not any(name in scenario.name for name in arguments.only):
            continue
        table = rows(scenario, arguments.draws, arguments.offset)
        verdict = "not required"
        if scenario.required:
            missed = any(row.missed for row in table)
            verdict = "FAIL" if missed else "pass"
            failed |= missed
        print(f"{scenario.name}: {verdict}", *(f"    {row}" for row in table), sep="\n", flush=True)
    spent_ms = frontier_ms()
    slow = spent_ms >= MOST_MS
    print(f"a frontier of {POINTS:,} points: {spent_ms:.1f} ms, {'FAIL' if slow else 'pass'}")
    return 1 if (failed or slow) and not arguments.quick else 0


if __name__ == "__main__":
    sys.exit(main())
