"""The verdict on spectral norms at the end of the runs follows from the slopes that are judged."""

import pytest

from telescope.studies.coordinates.slopes import CoordinateVerdict
from telescope.studies.telescoping.answer.late import late_slope, late_verdict

UP, STEEP, UNSURE, FLAT = (
    late_slope(f"spectral/{name}", slope, half)
    for name, slope, half in (("up", 0.5, 0.1), ("q", 0.4, 0.01), ("k", -0.3, 0.1), ("v", 0.1, 0.3))
)
TOLD = late_slope("update/up", 0.9, 0.1)


@pytest.mark.parametrize(
    ("slopes", "code", "verdict", "worst"),
    [
        ((TOLD, UP, STEEP, UNSURE, FLAT), "beyond_gate", "fail", UP),
        ((TOLD, UNSURE, FLAT), "across_gate", "unresolved", UNSURE),
        ((TOLD, FLAT), "within_gate", "pass", FLAT),
    ],
)
def test_a_verdict_has_the_code_and_the_worst_slope_that_it_follows_from(
    slopes: tuple[object, ...], code: str, verdict: CoordinateVerdict, worst: object
) -> None:
    judged, because = late_verdict(slopes, (32, 64, 128))  # type: ignore[arg-type]
    assert (judged, because.code, because.worst) == (verdict, code, worst)
    assert (because.judged, because.narrowest, because.widest) == (len(slopes) - 1, 32, 128)
