"""The throughput benchmark's arithmetic: what is a rate, an overhead, a ratio; which losses agree."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.arms import LOADS, ArmRun
from benchmarks.throughput import TOLERANCE, disagreement, replace_tables, row, table

RUN = ArmRun(arm="d", load="quick", startup_s=3.0, wall_s=10.0, training_s=16.0, losses=(2.0, 3.0, 2.5, math.inf), peak_bytes=2**30)
LOAD = replace(LOADS["quick"], against_a=4.0, against_best=1.3)


def test_overhead_is_the_core_seconds_that_were_not_training() -> None:
    found = row(LOAD, [RUN, replace(RUN, wall_s=12.0)], processes=2)
    assert found.trials_per_hour == pytest.approx(3600 * 4 / 11)
    assert found.overhead_s == pytest.approx((2 * 11 - 16) / 4)


def test_the_table_says_which_targets_are_reached() -> None:
    peers = [replace(RUN, arm="a", wall_s=50.0), replace(RUN, arm="b", wall_s=15.0), replace(RUN, arm="c", wall_s=12.0)]
    text = table(LOAD, [RUN, *peers], 2, 1e11)
    assert "against (a): 5.00 (target 4: reached)" in text
    assert "against the best of (b), (c): 1.20 (target 1.3: missed)" in text
    assert "against (a): not measured" in table(LOAD, [RUN], 2, 1e11)


def test_losses_disagree_where_any_trial_ends_elsewhere_in_any_arm() -> None:
    assert disagreement([RUN, replace(RUN, arm="c")]) == 0.0
    assert disagreement([RUN, replace(RUN, losses=(2.0, 3.0, 2.5 + 2 * TOLERANCE, math.inf))]) == pytest.approx(2 * TOLERANCE)
    assert disagreement([RUN, replace(RUN, losses=(2.0, 3.0, 2.5, 9.0))]) == math.inf
    assert disagreement([RUN, replace(RUN, losses=(2.0, 3.0, math.nan, math.inf))]) == math.inf


def test_tables_replace_those_of_the_page_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- tables of benchmarks.throughput -->\nold\n<!-- end of tables -->\nafter\n")
    for _ in range(2):
        replace_tables(page, "| \\1 |")
    assert page.read_text() == "before\n<!-- tables of benchmarks.throughput -->\n| \\1 |\n<!-- end of tables -->\nafter\n"
