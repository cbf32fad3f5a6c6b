"""Coverage of the intervals that telescope reads from noisy curves, and speed of a frontier.

The coverage is the share of intervals that contain the true value. These tests make 60 draws for
each scenario, while `python -m benchmarks.frontier` makes 400.
"""

import pytest

from benchmarks.frontier import MOST_MS, SCENARIOS, Row, Scenario, frontier_ms, rows

DRAWS = 60
# The coverage must lie within 90 +- this, in %. It is three standard errors of a share of 60 draws.
TOLERANCE = 12.0


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
