"""The benchmark of surfaces gives the same rows with several processes as without processes."""

from benchmarks.surfaces import peers, rows
from surfaces.scenarios import SCENARIOS, outcome


def test_processes_share_the_surfaces_and_rows_and_studies_keep_their_order() -> None:
    scenarios = {scenario.name: scenario for scenario in SCENARIOS}
    one_axis, noisy = scenarios["k = 1"], scenarios["sigma 0.1 %"]
    table = list(rows([one_axis, noisy], processes=2, offset=10, surfaces=3))
    assert [row.scenario for row in table] == [one_axis, noisy, *peers(noisy)]
    for row in table:
        assert row.outcomes == tuple(outcome(row.scenario, number) for number in range(10, 13))
