"""Answers to target losses are close to the truth of known laws, and are bounds where runs did not
reach the loss.
"""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from surfaces.batch_laws import TARGET
from telescope.errors import InvalidInput
from telescope.statistics.token_ratio import Standing
from telescope.studies.compute_time.analysis import Analysis
from telescope.studies.compute_time.answer import answer_sentence
from telescope.studies.compute_time.reasons import NothingToRead, NotReached
from telescope.train.flops import step_flops
from telescope.trials.spec import TrialSpec
from tests.telescope.studies.compute_time.laws import BATCHES, LAWS, Trainer, study, trained

LONG = {"tokens": 1_600_000, "lengths": 8}
# chords between lengths half an octave apart lie above the curve
OFF = {"constant": 0.005, "cooldown": 0.012, "full": 0.012}


def analysis(runs: dict[str, Any] | None = None, train: Any = None, **changes: Any) -> Analysis:
    question = study(runs, **changes)
    return Analysis.of(question, trained(question, train or Trainer()))


@pytest.mark.parametrize("reading", ["constant", "cooldown", "full"])
def test_without_noise_tokens_to_the_loss_and_the_ratio_are_the_law_s(reading: str) -> None:
    result = analysis(
        {} if reading == "constant" else LONG | {"reading": reading},
        Trainer(hot=0.1 if reading == "cooldown" else 0.0),
        seeds=2,
    )
    for row in result.batch_sizes(TARGET).rows:
        (truth,) = LAWS[row.optimizer].tokens_to(TARGET, [row.batch_tokens])
        assert row.tokens == pytest.approx(truth, rel=OFF[reading])
        assert row.steps == pytest.approx(truth / row.batch_tokens, rel=OFF[reading])
        assert (row.reached, row.censored, row.early, row.diverged) == (2, 0, 0, 0)
    for ratio in result.token_ratio(TARGET).rows:
        truth = float(
            np.divide(
                *(
                    LAWS[name].tokens_to(TARGET, [ratio.batch_tokens])[0]
                    for name in ("adamw", "muon")
                )
            )
        )
        assert ratio.ratio == pytest.approx(truth, rel=2 * OFF[reading])


def test_without_noise_the_critical_and_the_token_optimal_batch_are_the_law_s() -> None:
    for summary in analysis(seeds=2).batch_sizes(TARGET).optimizers:
        law, piecewise = LAWS[summary.optimizer], summary.critical[0]
        assert piecewise.form == "piecewise"
        assert piecewise.batch_tokens == pytest.approx(law.critical(TARGET), rel=0.03)
        assert piecewise.slope == pytest.approx(law.slope, abs=0.02)
        assert summary.token_optimal_batch == pytest.approx(law.token_optimal(0.02), rel=0.03)


def test_the_ratio_of_these_laws_rises_beyond_both_critical_batches() -> None:
    laws = LAWS | {"adamw": dataclasses.replace(LAWS["adamw"], slope=-0.3)}
    answer = analysis(train=Trainer(laws=laws, point=0.001), seeds=2).token_ratio(TARGET)
    assert answer.trend == "rising"
    assert answer.exponent == pytest.approx(0.1, abs=0.03)
    assert answer.trend_from_batch_tokens == pytest.approx(500, rel=0.1), (
        "Muon's critical batch, for AdamW's is smaller"
    )
    assert {row.muon for row in answer.rows} == {Standing.AHEAD}


def test_where_no_batch_lies_beyond_both_critical_batches_there_is_no_trend() -> None:
    # ever fewer tokens
    laws = LAWS | {"muon": dataclasses.replace(LAWS["muon"], critical_batch=1.0, slope=-1.1)}
    result = analysis(train=Trainer(laws=laws), seeds=2)
    assert result.batch_sizes(TARGET, "muon").optimizers[0].critical[0].batch_tokens is None
    answer = result.token_ratio(TARGET)
    assert [row.ratio for row in answer.rows] == sorted(row.ratio or 0 for row in answer.rows), (
        "AdamW's critical batch is passed"
    )
    assert (answer.trend_from_batch_tokens, answer.trend, answer.exponent) == (None, None, None)
    assert "whether the advantage lasts is unknown" in answer_sentence(answer)


@pytest.mark.parametrize("counts", [(1,), (1, 2, 3, 8, 64)])
def test_the_frontier_is_what_brute_force_finds(counts: tuple[int, ...]) -> None:
    hardware = {
        "device_flops_per_second": 1e12,
        "share_of_peak": 0.4,
        "bandwidth_bytes_per_second": 1e9,
    }
    rows = analysis(devices={"counts": list(counts), "hardware": hardware}).frontier(TARGET).rows
    assert {row.origin for row in rows} == {"modelled"}
    for row in rows:
        assert row.hours is not None
        assert (row.batch_tokens // 16) % row.devices == 0
        rivals = [
            o for o in rows if o.optimizer == row.optimizer and o is not row and o.hours is not None
        ]
        ruled_out = any(
            o.devices <= row.devices
            and (o.hours or 0) <= row.hours
            and (o.devices < row.devices or (o.hours or 0) < row.hours)
            for o in rivals
        )
        assert row.on_frontier is not ruled_out


def test_without_hardware_one_device_is_measured_and_several_are_modelled() -> None:
    answer = analysis(devices={"counts": [1, 2, 4]}).frontier(TARGET)
    assert {(row.devices, row.origin) for row in answer.rows} == {
        (1, "measured"),
        (2, "modelled"),
        (4, "modelled"),
    }
    assert all(row.share_of_peak is None for row in answer.rows)
    assert "worker of this installation" in answer.model
    row = next(
        row
        for row in answer.rows
        if (row.optimizer, row.batch_tokens, row.devices) == ("adamw", 512, 1)
    )
    assert row.step_seconds == pytest.approx(0.002)
    assert row.hours == pytest.approx(
        LAWS["adamw"].tokens_to(TARGET, [512])[0] / 512 * 0.002 / 3600, rel=0.01
    )


def test_on_one_device_muon_with_fewer_tokens_dominates() -> None:
    hardware = {
        "device_flops_per_second": 1e15,
        "share_of_peak": 0.4,
        "bandwidth_bytes_per_second": 1e15,
    }
    dominance = analysis(devices={"hardware": hardware, "counts": [1]}).frontier(TARGET).dominance
    assert dominance is not None
    assert dominance.ratio > 1


def test_the_ratio_in_flops_and_in_hours_counts_what_a_step_of_each_costs() -> None:
    result = analysis(seeds=2)
    steps = {
        (row.optimizer, row.batch_tokens): row.steps or 0.0
        for row in result.batch_sizes(TARGET).rows
    }
    timed = {
        (batch.optimizer, batch.batch_tokens): batch.timed
        for arm in result.arms
        for batch in arm.batches
    }
    for row in result.token_ratio(TARGET).rows:
        hours, flops = {}, {}
        for name in LAWS:
            run = timed[name, row.batch_tokens]
            assert run is not None
            hours[name] = steps[name, row.batch_tokens] * run.metrics["step_seconds"]
            flops[name] = steps[name, row.batch_tokens] * step_flops(run.spec)
        assert row.hours_ratio == pytest.approx(hours["adamw"] / hours["muon"])
        assert row.flops_ratio == pytest.approx(flops["adamw"] / flops["muon"])


def test_runs_that_did_not_reach_the_loss_are_bounds_and_never_on_the_frontier() -> None:
    result = analysis({"tokens": 250_000, "doublings": 0}, seeds=2)
    short = {
        (row.optimizer, row.batch_tokens) for row in result.batch_sizes(TARGET).rows if row.censored
    }
    expected = {
        (name, b)
        for name, law in LAWS.items()
        for b in BATCHES
        if law.tokens_to(TARGET, [b])[0] > 250_000 * 0.97
    }
    assert short == expected
    for row in result.batch_sizes(TARGET).rows:
        if row.censored:
            assert row.tokens == pytest.approx(250_000, rel=0.02)
            assert (row.tokens_high, row.on_frontier) == (None, False)
    assert not any(
        row.on_frontier
        for row in result.frontier(TARGET).rows
        if (row.optimizer, row.batch_tokens) in short
    )
    bounds = {row.batch_tokens for row in result.token_ratio(TARGET).rows if row.pairs == 0}
    assert bounds == {batch for _, batch in short}


def test_a_target_above_the_first_point_is_reached_early() -> None:
    result = analysis({"reading": "full", "tokens": 400_000, "lengths": 2, "doublings": 0})
    high = 3.0
    assert all(
        (row.early, row.reached) == (1, 0) and not row.on_frontier
        for row in result.batch_sizes(high).rows
    )
    assert all(
        (row.early, row.hours_low) == (True, 0) and not row.on_frontier
        for row in result.frontier(high).rows
    )
    assert result.frontier(high).dominance is None


def test_a_target_that_no_run_reached_is_refused_with_the_range_that_was() -> None:
    result = analysis({"tokens": 250_000, "doublings": 0})
    with pytest.raises(InvalidInput, match="no run reached this loss; the losses") as refusal:
        result.frontier(1.0)
    assert result.loss_range is not None
    assert result.no_answer(1.0) == NotReached(
        target_loss=1.0, highest_loss=result.loss_range[0], lowest_loss=result.loss_range[1]
    )
    assert result.no_answer(TARGET) is None
    assert f"down to {result.loss_range[1]:.4g}" in refusal.value.problems[0].message
    assert refusal.value.problems[0].field == "target_loss"


def test_before_any_run_has_ended_there_is_nothing_to_read() -> None:
    with pytest.raises(InvalidInput, match="no run has recorded a loss yet"):
        Analysis.of(study(), []).token_ratio(2.0)
    assert Analysis.of(study(), []).no_answer(2.0) == NothingToRead(target_loss=2.0)


def test_one_optimizer_alone_has_a_frontier_and_no_ratio() -> None:
    result = analysis(optimizer="muon", devices={"counts": [1, 2]})
    assert result.frontier(TARGET).rows
    assert result.frontier(TARGET).dominance is None
    ratio = result.token_ratio(TARGET)
    assert (ratio.rows, ratio.trend) == ((), None)
    assert "both optimizers; there are only runs of muon" in ratio.note


def test_an_answer_can_be_limited_to_one_optimizer() -> None:
    result = analysis()
    assert {row.optimizer for row in result.frontier(TARGET, "adamw").rows} == {"adamw"}
    assert {row.optimizer for row in result.batch_sizes(TARGET, "muon").rows} == {"muon"}
    assert result.frontier(TARGET, "adamw").dominance == result.frontier(TARGET).dominance


def test_batches_at_which_every_run_diverged_are_there_without_numbers() -> None:
    def train(spec: TrialSpec) -> Any:
        return Trainer(
            cliff=-100.0
            if spec.horizon.batch_tokens == 4096 and spec.optimizer.name == "muon"
            else 99.0
        )(spec)

    result = analysis(train=train)
    (row,) = (row for row in result.batch_sizes(TARGET, "muon").rows if row.batch_tokens == 4096)
    assert (row.tokens, row.diverged, row.reached) == (None, 1, 0)
    assert {
        (row.hours, row.diverged)
        for row in result.frontier(TARGET, "muon").rows
        if row.batch_tokens == 4096
    } == {(None, 1)}
    assert 4096 not in {ratio.batch_tokens for ratio in result.token_ratio(TARGET).rows}


def test_rows_are_flat() -> None:
    result = analysis()
    rows: tuple[Any, ...] = (
        *result.frontier(TARGET).rows,
        *result.batch_sizes(TARGET).rows,
        *result.token_ratio(TARGET).rows,
    )
    for row in rows:
        values = [getattr(row, field.name) for field in dataclasses.fields(row)]
        assert all(value is None or isinstance(value, (str, int, float, bool)) for value in values)
        assert all(math.isfinite(value) for value in values if isinstance(value, float))


def test_of_100_noisy_draws_the_intervals_of_tokens_and_ratio_hold_the_truth_in_about_90() -> None:
    held: dict[str, list[bool]] = {"T": [], "R": []}
    question = study({"tokens": 400_000}, batch_tokens=[256, 1024, 4096], seeds=3)
    for number in range(100):
        result = Analysis.of(
            question, trained(question, Trainer(point=0.005, run=0.001, number=number))
        )
        for row in result.batch_sizes(TARGET).rows:
            (truth,) = LAWS[row.optimizer].tokens_to(TARGET, [row.batch_tokens])
            held["T"].append((row.tokens_low or 0) <= truth <= (row.tokens_high or math.inf))
        for ratio in result.token_ratio(TARGET).rows:
            first, second = (
                LAWS[name].tokens_to(TARGET, [ratio.batch_tokens])[0] for name in ("adamw", "muon")
            )
            held["R"].append(
                (ratio.ratio_low or 0) <= first / second <= (ratio.ratio_high or math.inf)
            )
    shares = {name: float(np.mean(values)) for name, values in held.items()}
    assert all(0.84 <= share <= 0.96 for share in shares.values()), shares


def test_a_run_much_longer_than_the_target_needs_is_read_correctly() -> None:
    result = analysis({"tokens": 3_200_000}, optimizer="muon", batch_tokens=[512])
    (row,) = result.batch_sizes(TARGET).rows
    assert row.tokens == pytest.approx(LAWS["muon"].tokens_to(TARGET, [512])[0], rel=0.02)
