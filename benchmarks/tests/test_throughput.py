"""The throughput benchmark computes the right rates, overheads, ratios and loss differences."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.arms import LOADS, ArmRun
from benchmarks.recipes import OPTIMIZERS, trial
from benchmarks.steps import Peaks
from benchmarks.throughput import (
    ROUNDED_TOLERANCE,
    TOLERANCE,
    Disagreement,
    disagreement,
    main,
    replace_tables,
    row,
    table,
)
from telescope.train.flops import evaluation_flops, step_flops

RUN = ArmRun(
    "d",
    "quick",
    startup_s=3.0,
    wall_s=10.0,
    training_s=16.0,
    trials=(0, 1, 2, 3),
    losses=(2.0, 3.0, 2.5, math.inf),
    peak_bytes=2**30,
)
PEAKS = Peaks(training=1e11, newton_schulz=1e12)
LOAD = replace(LOADS["quick"], against_a=4.0, against_best=1.3)


def test_overhead_is_the_core_seconds_that_were_not_training() -> None:
    figures = row(LOAD, [RUN, replace(RUN, wall_s=12.0)], processes=2, peaks=PEAKS)
    assert figures.trials_per_hour == pytest.approx(3600 * 4 / 11)
    assert figures.overhead_s == pytest.approx((2 * 11 - 16) / 4)


def test_the_least_time_of_a_step_counts_each_part_at_the_peak_of_its_precision() -> None:
    muon, adamw = (trial(64, 10, optimizer) for optimizer in OPTIMIZERS[:2])
    assert PEAKS.least_step_s(adamw) == pytest.approx(step_flops(adamw) / 1e11)
    assert PEAKS.least_step_s(muon) == pytest.approx(
        step_flops(adamw) / 1e11 + (step_flops(muon) - step_flops(adamw)) / 1e12
    )
    least_s = sum(
        30 * PEAKS.least_step_s(spec) + evaluation_flops(spec) / 1e11 for spec in LOAD.specs()
    )
    figures = row(LOAD, [RUN], processes=2, peaks=PEAKS)
    assert figures.share_of_peak == pytest.approx(least_s / 10)


def test_the_table_says_which_targets_are_reached() -> None:
    peers = [
        replace(RUN, arm="a", wall_s=50.0),
        replace(RUN, arm="b", wall_s=15.0),
        replace(RUN, arm="c", wall_s=12.0),
    ]
    text = table(LOAD, [RUN, *peers], 2, PEAKS)
    assert "against (a): 5.00 (target 4: reached)" in text
    assert "against the best of (b), (c): 1.20 (target 1.3: missed)" in text
    one_peer = table(LOAD, [RUN, replace(RUN, arm="c", wall_s=12.0)], 2, PEAKS)
    assert "against (a): not measured; against (c): 1.20 (target 1.3: missed)." in one_peer
    assert (
        "Final losses of the peers differ by at most 0 nats, telescope's by 0. "
        "Turns: d 10 s, c 12 s."
    ) in one_peer
    with_compiled = table(LOAD, [RUN, replace(RUN, arm="e", wall_s=6.0), *peers], 2, PEAKS)
    assert (
        "1.20 (target 1.3: missed), "
        "where its shapes were compiled before 2.00 (target 1.3: reached)."
    ) in with_compiled


PEER = replace(RUN, arm="c")


def test_losses_disagree_if_the_final_loss_of_any_trial_differs_between_arms() -> None:
    def with_peer(*losses: float) -> Disagreement:
        return disagreement([PEER, replace(PEER, losses=losses)])

    assert disagreement([PEER, RUN]) == Disagreement(0.0, 0.0)
    assert with_peer(2.0, 3.5, 2.5, math.inf) == Disagreement(0.5, 0.5)
    assert with_peer(2.0, 3.0, 2.5, 9.0) == Disagreement(math.inf, math.inf)
    assert with_peer(2.0, math.nan, 2.5, math.inf).exact == math.inf


def test_effects_of_rounding_are_tolerated_only_in_arms_that_may_compile() -> None:
    def with_telescope(*losses: float) -> Disagreement:
        return disagreement([PEER, replace(RUN, losses=losses)])

    assert with_telescope(2.0, 3.0, 3.0, math.inf) == Disagreement(0.0, 0.5)
    assert with_telescope(2.0, 3.0, math.inf, math.inf).rounded == math.inf
    assert Disagreement(TOLERANCE, ROUNDED_TOLERANCE).tolerable
    assert not Disagreement(2 * TOLERANCE, 0.0).tolerable
    assert not Disagreement(0.0, 2 * ROUNDED_TOLERANCE).tolerable


def test_figures_of_an_arm_that_trains_some_trials_count_those_and_say_so() -> None:
    half = replace(RUN, arm="a", wall_s=20.0, trials=(2, 3), losses=(2.5, math.inf))
    assert row(LOAD, [half], 2, PEAKS).trials_per_hour == pytest.approx(3600 * 2 / 20)
    assert "Ray Tune, function, 2 of them |" in table(LOAD, [RUN, half], 2, PEAKS)
    assert disagreement([PEER, half]) == Disagreement(0.0, 0.0)
    assert disagreement([PEER, replace(half, losses=(2.6, math.inf))]).exact == pytest.approx(0.1)


def test_new_tables_replace_the_tables_of_a_page_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "before\n<!-- tables of benchmarks.throughput -->\nold\n<!-- end of tables -->\nafter\n"
    )
    for _ in range(2):
        replace_tables(page, "| \\1 |")
    assert page.read_text() == (
        "before\n<!-- tables of benchmarks.throughput -->\n| \\1 |\n<!-- end of tables -->\nafter\n"
    )


@pytest.mark.parametrize("argument", [["--quick"], ["--arms", "dc"], ["--loads", "short"], []])
def test_tables_of_unusual_loads_and_pages_without_markers_are_refused(
    argument: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- tables of benchmarks.throughput -->\nold\n<!-- end of tables -->\n"
        if argument
        else "no place\n"
    )
    before = page.read_text()
    monkeypatch.setattr("sys.argv", ["throughput", "--into", str(page), *argument])
    with pytest.raises(SystemExit) as exit_info:
        main()
    assert exit_info.value.code == 2
    assert page.read_text() == before


def test_tables_of_arms_that_did_not_do_the_same_work_are_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- tables of benchmarks.throughput -->\nold\n<!-- end of tables -->\n")
    # `main` sets this variable. Setting it here makes pytest restore it after the test.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr("benchmarks.throughput.matmul_peak", lambda dtype, processes: 1e11)
    monkeypatch.setattr("sys.argv", ["throughput", "--into", str(page)])
    for error, status in ((2 * TOLERANCE, 1), (0.0, 0)):

        def run(arm: str, load: str, error: float = error) -> ArmRun:
            numbers = LOADS[load].numbers(arm)
            return replace(
                RUN,
                arm=arm,
                load=load,
                trials=numbers,
                losses=tuple(2.0 + error * (arm == "c") for _ in numbers),
            )

        monkeypatch.setattr("benchmarks.throughput.run_arm", run)
        assert main() == status
        assert ("old" in page.read_text()) == bool(status)
