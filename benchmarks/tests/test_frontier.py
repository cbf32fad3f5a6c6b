"""Coverage of intervals that are read from noisy curves, and speed of a frontier.

The tests make few draws; `python -m benchmarks.frontier` makes 400 per scenario.
"""

import pytest

from benchmarks.frontier import MOST_MS, SCENARIOS, Row, Scenario, frontier_ms, rows

DRAWS = 60
TOLERANCE = 12.0  # % around 90: three standard errors of a share of so few draws


REQUIRED = [scenario for scenario in SCENARIOS if scenario.required]


@pytest.mark.parametrize("scenario", REQUIRED, ids=lambda scenario: scenario.name)
def test_intervals_hold_the_truth_about_nine_times_in_ten(scenario: Scenario) -> None:
    table = rows(scenario, DRAWS, offset=20_000)
    coverages = {row.quantity: Row.coverage(row.checks) for row in table}
    assert len(coverages) == (6 if scenario.smooth else 11)
    assert {
        quantity: coverage
        for quantity, coverage in coverages.items()
        if abs(coverage - 90) > TOLERANCE
    } == {}


def test_a_frontier_of_100_000_points_is_fast_even_on_a_busy_machine() -> None:
    assert frontier_ms() < 10 * MOST_MS
