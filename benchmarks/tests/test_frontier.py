"""Coverage of intervals read from noisy curves, and speed of a frontier, with few draws.

`python -m benchmarks.frontier` makes 400 draws each.
"""

import pytest

from benchmarks.frontier import MOST_MS, SCENARIOS, Row, Scenario, frontier_ms, rows

DRAWS = 60
ROOM = 12.0  # % by which a share of so few draws may miss 90: three standard errors


@pytest.mark.parametrize(
    "scenario", [one for one in SCENARIOS if one.required], ids=lambda one: one.name
)
def test_intervals_hold_the_truth_about_nine_times_in_ten(scenario: Scenario) -> None:
    found = rows(scenario, DRAWS, offset=20_000)
    assert [row.quantity for row in found if abs(Row.held(row.checks) - 90) > ROOM] == []
    assert len(found) == (6 if scenario.smooth else 11)


def test_a_frontier_of_100_000_points_is_quick_even_on_a_busy_machine() -> None:
    assert frontier_ms() < 10 * MOST_MS
