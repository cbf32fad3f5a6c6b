"""Coverage of the 90 % intervals of batch quantities: they must hold the truth in 85 to 95 %.

    python -m benchmarks.frontier [--draws 400] [--only NAME ...] [--offset 0] [--quick]

Each scenario draws random pairs of laws (`surfaces.batch_laws`), AdamW's and Muon's, each law read
from noisy curves of 200 points at seven batches, 256 to 16k tokens. It prints for each quantity the
share of intervals that hold the truth, in %, and in brackets the median of their half-widths, in %
of the quantity (of slope and trend: times 100); T and R have an interval per batch, and the share
of the worst batch follows. Last comes the time that a frontier of 100,000 points takes. It ends
with status 1 if a required scenario has a share outside 85 to 95 % (the others show the effect of
violated assumptions), or if that frontier takes 50 ms.

Parts: `Scenario` · `SCENARIOS` · `checks` of one draw, a `Check` per interval · `Row`, of one
quantity in many draws.
"""

import argparse
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

HONEST = (85.0, 95.0)  # %
POINTS, MOST_MS = 100_000, 50.0


@dataclass(frozen=True)
class Scenario:
    """Two laws read through noise."""

    name: str
    noise: Noise
    seeds: int
    required: bool = True
    smooth: bool = False  # whether the laws are of McCandlish's form


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
    """One interval and the truth."""

    quantity: str
    batch_tokens: float  # 0 where it is of no single batch
    held: bool
    half_width: float  # a share of the quantity; inf where an end is open


def relative(quantity: str, found: Estimate, truth: float, batch_tokens: float = 0.0) -> Check:
    """A check of a number above 0."""
    half = math.sqrt(found.high / found.low) - 1 if found.low > 0 else math.inf
    return Check(quantity, batch_tokens, found.low <= truth <= found.high, half)


def absolute(quantity: str, found: Estimate, truth: float, batch_tokens: float = 0.0) -> Check:
    """A check of a number that may be 0."""
    return Check(quantity, batch_tokens, found.low <= truth <= found.high, found.half_width)


def laws(number: int, smooth: bool) -> tuple[Law, Law]:
    """AdamW's and Muon's laws; Muon needs fewer tokens and often has the larger critical batch."""
    adamw, muon = law(number, 700, 2200), law(number + 1_000_000, 1100, 4500)
    muon = replace(muon, tokens=0.85 * adamw.tokens)
    return (SmoothLaw(**vars(adamw)), SmoothLaw(**vars(muon))) if smooth else (adamw, muon)


def read(of: Law, scenario: Scenario, number: int) -> Readings:
    """Read an optimizer's runs to the target."""
    crossings = smoothed(curves(of, scenario.noise, scenario.seeds, number)).crossings(TARGET)
    return Readings.of(
        np.repeat(BATCHES, scenario.seeds),
        np.tile(np.arange(scenario.seeds), len(BATCHES)),
        crossings,
    )


def of_one(name: str, truth: Law, scenario: Scenario, readings: Readings) -> Iterator[Check]:
    """Every interval of one optimizer."""
    for one, tokens in zip(tokens_at(readings), truth.tokens_to(TARGET, BATCHES), strict=True):
        yield relative(f"T {name}", one.tokens, float(tokens), one.batch_tokens)
    sharp, round_ = piecewise(readings), smooth(readings)
    assert sharp is not None
    assert round_ is not None
    if scenario.smooth:
        yield relative(f"B_crit {name}", round_.critical_batch, truth.critical_batch)
        return
    yield relative(f"B* {name}", sharp.critical_batch, truth.critical(TARGET))
    yield relative(f"B_tok {name}", sharp.token_optimal_batch, truth.token_optimal(TOLERANCE))
    yield absolute(f"slope {name}", sharp.slope, truth.slope)


def checks(scenario: Scenario, number: int) -> Iterator[Check]:
    """Every interval of a draw."""
    truths = laws(number, scenario.smooth)
    adamw, muon = (read(of, scenario, 2 * number + i) for i, of in enumerate(truths))
    yield from of_one("AdamW", truths[0], scenario, adamw)
    yield from of_one("Muon", truths[1], scenario, muon)
    first, second = (of.tokens_to(TARGET, BATCHES) for of in truths)
    for one, a, b in zip(ratios(adamw, muon), first, second, strict=True):
        yield relative("R", one.ratio, float(a / b), one.batch_tokens)
        gap = Estimate(
            *(
                float(tokens / b)
                for tokens in (one.gap_tokens.value, one.gap_tokens.low, one.gap_tokens.high)
            )
        )
        yield absolute("gap / T Muon", gap, float(a / b - 1), one.batch_tokens)
    critical = [fit.critical_batch.value for fit in map(piecewise, (adamw, muon)) if fit]
    past = trend(adamw, muon, max(critical))
    if past and not scenario.smooth:
        yield absolute("trend of R", past.exponent, truths[0].slope - truths[1].slope)


@dataclass(frozen=True)
class Row:
    """One quantity in many draws."""

    quantity: str
    checks: tuple[Check, ...]

    @staticmethod
    def held(checks: Sequence[Check]) -> float:
        """Share of the intervals that hold the truth, in %."""
        return 100 * float(np.mean([one.held for one in checks]))

    @property
    def worst(self) -> float:
        """Of the batches, the share that lies furthest from 90 %."""
        shares = [
            self.held([one for one in self.checks if one.batch_tokens == b])
            for b in {one.batch_tokens for one in self.checks}
        ]
        return max(shares, key=lambda share: abs(share - 90))

    @property
    def missed(self) -> bool:
        """True if a share lies outside the required range."""
        return not HONEST[0] <= self.held(self.checks) <= HONEST[1]

    def __str__(self) -> str:
        half = 100 * float(np.median([one.half_width for one in self.checks]))
        batches = (
            f" worst {self.worst:.1f}" if len({one.batch_tokens for one in self.checks}) > 1 else ""
        )
        return f"{self.quantity} {self.held(self.checks):.1f} ({half:.1f}){batches}"


def rows(scenario: Scenario, draws: int, offset: int) -> list[Row]:
    """Every quantity in this many draws."""
    found = [
        check for number in range(offset, offset + draws) for check in checks(scenario, number)
    ]
    return [
        Row(name, tuple(c for c in found if c.quantity == name))
        for name in dict.fromkeys(check.quantity for check in found)
    ]


def frontier_ms() -> float:
    """Milliseconds of a frontier, median of nine, for the slower of two kinds of points.

    The kinds are scattered points, and points of which none dominates another.
    """
    rng, medians = np.random.default_rng(0), []
    devices = rng.uniform(1, 10_000, POINTS)
    for hours in (rng.uniform(1, 100, POINTS), 1e4 / devices):
        seconds = []
        for _ in range(9):
            began = time.perf_counter()
            Frontier.of(devices, hours)
            seconds.append(time.perf_counter() - began)
        medians.append(1000 * float(np.median(seconds)))
    return max(medians)


def main() -> int:
    """Print the table; return 1 if required intervals miss, or the frontier is slow."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=400, help="draws per scenario")
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="NAME",
        help="scenarios whose name contains one of these",
    )
    parser.add_argument(
        "--offset",
        type=int,
        default=0,
        help="number of the first draw; draws from 10,000 on are for development",
    )
    asked = parsed(parser, draws=4)
    missed = 0
    for scenario in SCENARIOS:
        if asked.only and not any(name in scenario.name for name in asked.only):
            continue
        found = rows(scenario, asked.draws, asked.offset)
        faults = [row.quantity for row in found if row.missed]
        missed += bool(faults) and scenario.required
        verdict = (
            "FAIL"
            if faults and scenario.required
            else "pass"
            if scenario.required
            else "for information"
        )
        print(f"{scenario.name}: {verdict}", *(f"    {row}" for row in found), sep="\n", flush=True)
    took = frontier_ms()
    print(f"a frontier of {POINTS:,} points: {took:.1f} ms, {'pass' if took < MOST_MS else 'FAIL'}")
    return 1 if (missed or took >= MOST_MS) and not asked.quick else 0


if __name__ == "__main__":
    sys.exit(main())
