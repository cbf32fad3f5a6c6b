"""One trial in training: it is reproducible, resumes, learns, accumulates gradients, and ends early
if it diverges or reaches its target loss.
"""

import itertools
import math
import statistics
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from telescope.data import batches
from telescope.train.checkpoint import CheckpointFile
from telescope.train.flops import trial_flops
from telescope.train.loop import step_runs, train_one
from telescope.train.run import TrainingRun, curve_of, median_step_seconds
from telescope.trials.data import DataSpec
from telescope.trials.horizon import HorizonSpec
from telescope.trials.outcome import Measurement, completed
from telescope.trials.spec import TrialSpec
from telescope.trials.types import Parametrisation
from tests.telescope.small import ADAMW, HORIZON, MODEL, MUON, trial

GQA_TIED = replace(MODEL, query_heads_per_kv=2, tied_embeddings=True, mlp="relu2", qk_norm=True)
CLIPPED = trial(replace(MUON, lr=0.2, qk_clip=0.5), replace(MODEL, attention="mla"))
SPECS = {
    "muon": trial(),
    "adamw": trial(ADAMW),
    "gqa_tied": trial(model=GQA_TIED),
    "clipped": CLIPPED,
}


def values(points: Iterable[Measurement]) -> list[tuple[int, dict[str, float]]]:
    return [(point.step, dict(point.metrics)) for point in points]


@pytest.fixture(params=SPECS.values(), ids=SPECS)
def spec(request: pytest.FixtureRequest) -> TrialSpec:
    trial_spec: TrialSpec = request.param
    return trial_spec


def test_a_run_repeats_itself_bit_for_bit(spec: TrialSpec) -> None:
    assert values(train_one(spec)) == values(train_one(spec))


def test_a_run_resumed_from_any_checkpoint_yields_the_identical_rest(
    spec: TrialSpec, tmp_path: Path
) -> None:
    expected = values(train_one(spec))
    for saved_points in (1, 2, 3):
        path = tmp_path / f"{saved_points}.pt"
        first = train_one(spec, CheckpointFile(path, every_seconds=0))
        # the generator writes a checkpoint when it is asked for the next point
        for _ in range(saved_points + 1):
            next(first)
        first.close()
        file = CheckpointFile(path)
        assert values(train_one(spec, file)) == expected[saved_points:]
        assert file.step == expected[saved_points - 1][0]


def test_the_curve_has_its_points_tokens_and_flops() -> None:
    spec = trial()
    points = list(train_one(spec))
    assert [point.step for point in points] == [3, 6, 9, 12]
    assert points[-1].tokens == 12 * 128
    assert points[-1].flops == trial_flops(spec)
    assert [("loss" in point.metrics) for point in points] == [False, False, False, True]
    assert all(point.seconds > before.seconds for before, point in itertools.pairwise(points))


def test_a_trial_learns_real_text() -> None:
    longer = replace(HORIZON, steps=60, batch_tokens=512)
    losses = [point.metrics["train_loss"] for point in train_one(trial(horizon=longer))]
    assert losses[0] > 5.0  # near ln 256 = 5.545
    assert losses[-1] < 3.6


def test_accumulating_micro_batches_changes_nothing_but_rounding() -> None:
    points = values(train_one(trial(ADAMW)))
    accumulating = trial(ADAMW, horizon=replace(HORIZON, micro_batch_tokens=32))
    accumulated = values(train_one(accumulating))
    for (_, metrics), (_, accumulated_metrics) in zip(points, accumulated, strict=True):
        assert metrics == pytest.approx(accumulated_metrics, rel=1e-4)


def test_a_trial_with_an_absurd_lr_completes_as_diverged() -> None:
    spec = trial(replace(ADAMW, lr=1e4), horizon=replace(HORIZON, steps=200))
    points = list(train_one(spec))
    result = completed(spec, points)
    assert points[-1].step < 200
    assert result.loss == math.inf
    assert result.diverged
    assert result.failure is not None
    assert result.failure.kind == "scientific"


@pytest.mark.parametrize("record_every", [1, 3, 60])
def test_divergence_does_not_depend_on_how_often_points_are_recorded(record_every: int) -> None:
    horizon = replace(HORIZON, steps=120, record_every=record_every)
    points = list(train_one(trial(replace(ADAMW, lr=10.0), horizon=horizon)))
    # the loss is finite, but above the first
    assert all(math.isfinite(point.metrics["train_loss"]) for point in points)
    assert completed(trial(), points).diverged


def test_seeds_draw_other_batches_and_other_weights() -> None:
    assert values(train_one(trial(seed=1))) != values(train_one(trial(seed=2)))
    spec = trial(seed=1)
    runs = (TrainingRun(spec), TrainingRun(trial(seed=2)))
    runs[1].model.load_state_dict(runs[0].model.state_dict())
    losses = [[float(step_runs([run])) for _ in range(2)] for run in runs]
    assert losses[0][0] == losses[1][0]  # the head starts at zero
    assert losses[0][1] != losses[1][1]


@pytest.mark.parametrize("lr", [0.01, 10.0])
def test_judgement_and_metrics_are_repeatable_until_the_next_point(lr: float) -> None:
    horizon = replace(HORIZON, steps=22, record_every=11)
    run = TrainingRun(trial(replace(ADAMW, lr=lr, measure_max_logit=True), horizon=horizon))
    for expected in (11, 22):
        while run.step < expected:
            run.prepare_ending()
            step_runs([run])
        judgement = run.judge()
        metrics = run.metrics(judgement)
        assert run.interval_steps == 11
        assert (run.judge(), run.metrics(judgement)) == (judgement, metrics)
        assert run.ended is (expected == 22)
        assert run.point(metrics).metrics == metrics
        assert run.interval_steps == 0
    assert run.diverged is (lr == 10.0)
    assert math.isinf(metrics["loss"]) is run.diverged
    assert {"train_loss", "max_logit", "loss"} <= metrics.keys()


def test_a_checkpoint_holds_the_curve_up_to_its_step(tmp_path: Path) -> None:
    file = CheckpointFile(tmp_path / "c.pt", every_seconds=0)
    running = train_one(trial(), file)
    points = [next(running) for _ in range(3)]
    running.close()
    state = file.load()
    assert state is not None
    assert curve_of(state) == points[:2]


def test_three_parametrisations_give_bit_identical_curves_at_the_base_width() -> None:
    base = replace(MODEL, width=16)
    for optimizer in (ADAMW, replace(MUON, update_scale="rms_match")):
        optimizers = [
            replace(optimizer, parametrisation=parametrisation)
            for parametrisation in get_args(Parametrisation)
        ]
        curves = [values(train_one(trial(spec, model=base))) for spec in optimizers]
        assert curves[0] == curves[1] == curves[2]
        mup, _, standard = [values(train_one(trial(spec))) for spec in optimizers]
        assert mup != standard


def test_held_out_losses_are_measured_at_their_interval() -> None:
    horizon = HorizonSpec(
        steps=8, batch_tokens=128, evaluation_tokens=256, evaluate_every=4, record_every=8
    )
    points = train_one(trial(horizon=horizon))
    assert [(point.step, "loss" in point.metrics) for point in points] == [(4, True), (8, True)]


def test_a_run_stops_at_the_first_held_out_loss_at_or_below_its_target() -> None:
    horizon = replace(HORIZON, steps=40, batch_tokens=256, evaluate_every=8)
    complete = list(train_one(trial(horizon=horizon)))
    losses = [point.metrics["loss"] for point in complete if "loss" in point.metrics]
    for target, end in ((losses[2], 24), (losses[2] * 0.999, 32), (losses[-1] * 0.9, 40)):
        spec = trial(horizon=replace(horizon, stop_below_loss=target))
        points = list(train_one(spec))
        assert points[-1].step == end
        assert values(points) == values(point for point in complete if point.step <= end)
        assert completed(spec, points).loss == points[-1].metrics["loss"]
        # only the last step of the horizon is measured by probes
        has_probes = any(name.startswith("late/") for name in points[-1].metrics)
        assert has_probes == (end == 40)


def test_a_training_loss_below_the_target_does_not_end_a_run() -> None:
    horizon = replace(
        HORIZON, steps=40, batch_tokens=256, record_every=1, evaluate_every=40, stop_below_loss=4.0
    )
    points = list(train_one(trial(horizon=horizon)))
    assert points[-1].step == 40
    assert min(point.metrics["train_loss"] for point in points[:-1]) < 4.0


def test_a_run_with_a_target_loss_can_diverge() -> None:
    horizon = replace(HORIZON, steps=200, evaluate_every=5, stop_below_loss=1.0)
    spec = trial(replace(ADAMW, lr=1e4), horizon=horizon)
    assert completed(spec, list(train_one(spec))).diverged


def test_a_run_that_measures_time_records_each_step_and_is_evaluated_once() -> None:
    spec = replace(trial(horizon=replace(HORIZON, evaluate_every=4)), measure="time")
    points = list(train_one(spec))
    assert [point.step for point in points] == list(range(1, 13))
    assert [point.step for point in points if "loss" in point.metrics] == [12]
    assert set(points[-1].metrics) == {"train_loss", "loss", "step_seconds"}
    assert not completed(spec, points).diverged
    seconds = [point.seconds - before.seconds for before, point in itertools.pairwise(points)]
    # the time of steps 6 to 11
    assert points[-1].metrics["step_seconds"] == statistics.median(seconds[4:-1])


def test_the_time_of_a_step_is_the_median_of_those_after_the_fifth() -> None:
    # steps 6 to 8 took 1, 2 and 20
    seconds = [100.0, 200.0, 300.0, 400.0, 500.0, 501.0, 503.0, 523.0]
    curve = [Measurement(step, 0, 0.0, at, {}) for step, at in enumerate(seconds, start=1)]
    assert median_step_seconds(curve) == 2.0


GOLDEN = {"muon": 3.1846, "adamw": 3.3028}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_losses_guard_every_refactoring(name: str) -> None:
    text = batches.resolve(DataSpec(corpus=str(Path(__file__).parents[3] / "LICENSE"), context=32))
    optimizer = {"muon": MUON, "adamw": ADAMW}[name]
    horizon = replace(HORIZON, steps=40, batch_tokens=256)
    spec = TrialSpec(model=MODEL, optimizer=optimizer, data=text, horizon=horizon, seed=0)
    assert completed(spec, list(train_one(spec))).loss == pytest.approx(GOLDEN[name], rel=2e-3)
