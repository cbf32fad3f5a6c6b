"""The remedy for an unresolved ladder: the speed that predicts its seconds."""

from telescope.studies.telescoping.answer.remedy import nearest_speed


def test_a_width_without_runs_of_its_own_has_the_speed_of_the_nearest_width() -> None:
    """A level whose runs were all reused has no speed, and does not shift those of wider levels."""
    speeds = {64: 2e9, 256: 8e9}
    assert [nearest_speed(speeds, width) for width in (32, 64, 256, 1024)] == [2e9, 2e9, 8e9, 8e9]
