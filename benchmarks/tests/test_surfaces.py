"""Studies on surfaces do not depend on the number of processes."""

from benchmarks.surfaces import peers, rows
from surfaces.scenarios import SCENARIOS, outcome


def test_processes_share_the_surfaces_and_rows_and_studies_keep_their_order() -> None:
    one_axis, noisy = (
        next(one for one in SCENARIOS if one.name == name) for name in ("k = 1", "sigma 0.1 %")
    )
    found = list(rows([one_axis, noisy], processes=2, offset=10, surfaces=3))
    assert [row.scenario for row in found] == [one_axis, noisy, *peers(noisy)]
    for row in found:
        assert row.outcomes == tuple(outcome(row.scenario, number) for number in range(10, 13))
