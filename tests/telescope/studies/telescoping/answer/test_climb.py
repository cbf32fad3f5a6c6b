"""The end of a climb has the values that its words are made from."""

from surfaces.bowls import random_surface, study
from telescope.studies import run_study
from telescope.studies.telescoping.kind import KIND
from telescope.studies.telescoping.reasons import ClimbEnd


def test_a_climb_within_tolerance_has_the_drift_that_is_left_and_its_interval() -> None:
    (ladder,) = run_study(KIND.of(study()), random_surface(3, noise=0.2, law="drawn")).ladders
    assert ladder.climb is not None
    assert ladder.climb.why == ClimbEnd.TOLERANCE
    left, values = ladder.shifts[0], dict(ladder.climb.values)
    assert values == {
        "calibration_width": 256,
        "octaves": left.octaves,
        "low": left.low,
        "high": left.high,
    }
    assert left.low < left.octaves < left.high
