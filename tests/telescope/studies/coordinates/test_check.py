"""The coordinate check passes sound parametrisations, fails wrong ones and names the right layers,
and is unresolved where the data do not decide.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from telescope.studies.coordinates import design as coordinate_design
from telescope.studies.coordinates.causes import Exponent, LrRule, misfits
from telescope.studies.coordinates.check import assess, carry_out, check, step
from telescope.studies.coordinates.design import Design, design, widths_of
from telescope.studies.coordinates.reasons import CheckReason, DivergedAtWidths, Reduced, TooCostly
from telescope.studies.coordinates.wording import cause_words
from telescope.train import probes
from telescope.train.flops import trial_flops
from telescope.train.loop import train_one
from telescope.train.run import TrainingRun
from telescope.trials.horizon import HorizonSpec
from telescope.trials.model import ModelSpec
from telescope.trials.optimizer import OptimizerSpec
from telescope.trials.outcome import Measurement, Trial, completed
from telescope.trials.spec import TrialSpec
from tests.telescope.small import stdlib, trial

MUON = OptimizerSpec(name="muon", lr=2.0**-5, weight_decay=0.1)
ADAMW = OptimizerSpec(name="adamw", lr=2.0**-6, weight_decay=0.1)
RMS = replace(MUON, update_scale="rms_match")
STANDARD = replace(ADAMW, parametrisation="standard")
MODEL = ModelSpec(width=16, base_width=16, depth=1, head_dim=16, mlp_ratio=2.0)
HORIZON = HorizonSpec(steps=120, batch_tokens=256)


def base(optimizer: OptimizerSpec = MUON, model: ModelSpec = MODEL) -> TrialSpec:
    return TrialSpec(model=model, optimizer=optimizer, data=stdlib(), horizon=HORIZON)


# Real training


@pytest.mark.parametrize("optimizer", [MUON, ADAMW], ids=["muon", "adamw"])
def test_mup_passes(optimizer: OptimizerSpec) -> None:
    report = check(base(optimizer), target_width=128)
    assert (report.verdict, report.failed, report.cause) == ("pass", (), None)
    assert {(layer.part, layer.layer) for layer in report.layers} >= {
        ("moved", "logits"),
        ("own", "blocks.0.attention.query"),
    }


def test_latent_attention_passes_under_mup_and_fails_under_standard() -> None:
    latent = replace(MODEL, attention="mla")
    sound, control = (
        check(base(replace(MUON, parametrisation=p), latent), target_width=128)
        for p in ("mup", "standard")
    )  # type: ignore[arg-type]
    assert (sound.verdict, sound.failed) == ("pass", ())
    assert control.verdict == "fail"
    parts = {
        f"blocks.0.attention.{name}"
        for name in ("query", "query_rotary", "latent", "key", "key_rotary", "value", "output")
    }
    assert {layer.layer for layer in sound.layers if layer.part == "own"} >= parts


@pytest.mark.parametrize(
    ("optimizer", "sign", "cause"),
    [
        (
            STANDARD,
            1,
            (
                "AdamW's lr for hidden matrices must be ~ 1/m, but is constant; "
                "the readout's lr x multiplier must"
            ),
        ),
        (
            replace(RMS, muon_lr_rule="constant"),
            1,
            "with update scale rms_match, Muon's lr must be ~ m^-1/2, but is constant",
        ),
        (
            replace(RMS, muon_lr_rule="inverse"),
            -1,
            "with update scale rms_match, Muon's lr must be ~ m^-1/2, but is ~ 1/m",
        ),
    ],
    ids=["adamw standard", "rms_match at constant lr", "rms_match at lr / m"],
)
def test_a_wrong_pairing_grows_in_every_hidden_layer_and_is_named(
    optimizer: OptimizerSpec, sign: int, cause: str
) -> None:
    report = check(base(optimizer), target_width=128)
    assert report.verdict == "fail"
    assert report.cause is not None
    assert report.cause.startswith(cause)
    assert report.cause == cause_words(report.causes)
    own = {layer.layer: sign * layer.slope for layer in report.layers if layer.part == "own"}
    assert own.keys() == set(TrainingRun(base()).model.hidden_layers())
    assert all(slope > 0.3 for slope in own.values())
    failed = {layer.layer for layer in report.failed if layer.part == "own"}
    assert failed >= {
        "blocks.0.attention.value",
        "blocks.0.attention.output",
        "blocks.0.feed_forward.down",
    }
    # only there the head is wrong as well
    assert ("logits" in {layer.layer for layer in report.failed}) == (optimizer is STANDARD)
    assert "effect of blocks.0" in report.reason


def test_a_check_trains_on_one_batch_and_ends_with_a_finite_loss() -> None:
    spec = design(base(), 128).runs[0]
    points = list(train_one(spec))
    assert [point.step for point in points] == list(range(1, 9))
    losses = [point.metrics["train_loss"] for point in points]
    assert all(later < earlier for earlier, later in pairwise(losses)), (
        "the same batch is learnt by heart"
    )
    assert not completed(spec, points).diverged
    assert points[-1].flops == trial_flops(spec)
    named = [{name for name in point.metrics if name.startswith(probes.MOVED)} for point in points]
    assert named[0] == {"moved/logits"}  # the head is silent at first, and passes no gradient
    assert len(named[1]) == len(named[-1]) == 8


def test_a_run_that_blows_up_within_its_steps_leaves_the_check_unresolved() -> None:
    def explode(spec: TrialSpec) -> list[Measurement]:
        return (
            [Measurement(1, 1, 1.0, 0.1, {"train_loss": math.nan, "loss": math.inf})]
            if spec.model.width == 64
            else grown(0.0)(spec)
        )

    report = carry_out(design(base(), 128), explode)
    assert report.verdict == "unresolved"
    assert report.because == CheckReason(DivergedAtWidths(widths=(64,), steps=8, lr=MUON.lr))
    assert "diverged within 8 steps at width 64" in report.reason


# Probes


def test_what_a_layer_adds_itself_and_what_came_in_make_up_its_change() -> None:
    run = TrainingRun(trial())
    tokens = run.batch(0)[:, :-1]
    beginning = probes.Beginning(run.model, tokens)
    name = "blocks.0.attention.query"
    layer = run.model.hidden_layers()[name].module
    with torch.no_grad():
        x = run.model.blocks[0].attention_norm(
            run.model.embedding(tokens) * run.model.embedding_multiplier
        )
        change = torch.randn(layer.weight.shape, generator=torch.Generator().manual_seed(1)) / 10
        layer.weight += change
    metrics = beginning.metrics()
    expected = math.log2(float((x @ change.T).square().mean().sqrt()))
    assert metrics[f"own/{name}"] == pytest.approx(expected, abs=1e-4)
    assert metrics[f"moved/{name}"] == pytest.approx(expected, abs=1e-4)  # nothing else came in
    assert "moved/blocks.0.attention.key" not in metrics  # it lies beside, not behind
    assert "moved/blocks.0.attention.output" in metrics
    assert "own/blocks.0.attention.output" not in metrics
    with torch.no_grad():
        # undone by the norm: the share of x's own change stays nothing
        run.model.embedding.weight *= 1.5
    assert beginning.metrics()[f"moved/{name}"] == pytest.approx(expected, abs=1e-3)


def test_spectral_norms_are_the_largest_singular_values_over_the_root_of_the_aspect_ratio() -> None:
    generator = torch.Generator().manual_seed(3)
    matrices = [
        torch.randn(shape, generator=generator) for shape in [(8, 32), (32, 8), (8, 32), (64, 64)]
    ] + [torch.zeros(4, 4)]
    expected = [
        float(torch.linalg.matrix_norm(matrix, 2)) / math.sqrt(matrix.shape[0] / matrix.shape[1])
        for matrix in matrices
    ]
    assert probes.spectral_norms(matrices) == pytest.approx(expected, rel=0.03)


def test_a_run_ends_with_the_spectral_norms_of_its_matrices_and_of_its_last_step() -> None:
    spec = trial(replace(ADAMW, lr=1e-5))
    run = TrainingRun(spec)
    expected = float(
        torch.linalg.matrix_norm(
            run.model.get_parameter("blocks.0.attention.value.weight"), 2
        ).detach()
    )
    *before, last = train_one(spec)
    # it hardly moved
    assert last.metrics["late/spectral/attention.value"] == pytest.approx(expected, rel=0.03)
    assert 0 < last.metrics["late/update/attention.value"] < 1e-4
    assert 0 < last.metrics["late/update/features"] < 1e-4
    assert not any(name.startswith(probes.LATE) for point in before for name in point.metrics)


# Arithmetic of the verdict


def grown(
    slope: float, spread: float = 0.0, layers: int = 1
) -> Callable[[TrialSpec], list[Measurement]]:
    """Changes that grow as width^slope; the slopes of the first two seeds differ from it by
    `spread`, in either direction.
    """

    def train(spec: TrialSpec) -> list[Measurement]:
        own = slope + spread * ((-1) ** spec.seed if spec.seed < 2 else 0)
        sizes = {
            f"moved/blocks.{i}.layer": 1.5 * i + own * math.log2(spec.model.width)
            for i in range(layers)
        }
        return [
            Measurement(spec.horizon.steps, 1, 1.0, 0.1, {"train_loss": 1.0, "loss": 1.0, **sizes})
        ]

    return train


def trials_of(
    plan: Design, seeds: int, train: Callable[[TrialSpec], Iterable[Measurement]]
) -> list[Trial]:
    return [completed(spec, list(train(spec))) for spec in plan.runs[: seeds * len(plan.widths)]]


def test_slopes_and_intervals_are_those_of_the_textbook() -> None:
    plan = design(base(), 128)
    (layer,) = assess(plan, trials_of(plan, 3, grown(0.2, spread=0.1))).layers
    # the 95 % point of Student's t with 2 degrees of freedom; seeds at 0.3, 0.1, 0.2
    half = 2.919986 * 0.1 / math.sqrt(3)
    assert (layer.slope, layer.high - layer.slope, layer.slope - layer.low) == pytest.approx(
        (0.2, half, half), abs=1e-3
    )
    assert np.diff(layer.sizes) == pytest.approx([0.2] * 3, abs=1e-3)


@pytest.mark.parametrize(
    ("slope", "spread", "verdict"),
    [
        (0.0, 0.01, "pass"),
        (0.249, 0.3, "pass"),  # however wide its interval
        (-0.249, 0.0, "pass"),
        (0.3, 0.01, "fail"),
        (-0.3, 0.01, "fail"),
        (0.3, 0.1, "unresolved"),
        (-0.3, 0.1, "unresolved"),
    ],
)
def test_only_an_interval_beyond_the_gate_fails(slope: float, spread: float, verdict: str) -> None:
    plan = design(base(), 128)
    report = assess(plan, trials_of(plan, 3, grown(slope, spread)))
    assert report.verdict == verdict
    assert f"width^{slope:+.2f}" in report.reason


@pytest.mark.parametrize("sign", [1, -1])
def test_growth_that_ends_at_large_widths_is_no_failure(sign: int) -> None:
    plan = design(base(), 128)

    def train(spec: TrialSpec) -> list[Measurement]:
        size = {16: 0.1, 32: -0.6, 64: -1.4, 128: -1.6}[spec.model.width]
        return [
            replace(grown(0.0)(spec)[0], metrics={"loss": 1.0, "moved/blocks.0.layer": sign * size})
        ]

    report = assess(plan, trials_of(plan, 3, train))
    assert min(abs(report.layers[0].low), abs(report.layers[0].high)) > 0.25
    assert report.verdict == "unresolved"


def test_one_bad_layer_among_many_is_the_one_that_is_named() -> None:
    plan = design(base(), 128)

    def train(spec: TrialSpec) -> list[Measurement]:
        (point,) = grown(0.0, layers=40)(spec)
        return [
            replace(
                point,
                metrics={**point.metrics, "own/blocks.7.layer": -0.5 * math.log2(spec.model.width)},
            )
        ]

    report = assess(plan, trials_of(plan, 3, train))
    assert [(layer.layer, layer.part) for layer in report.failed] == [("blocks.7.layer", "own")]
    assert "effect of blocks.7.layer's own updates scales as width^-0.50" in report.reason


def test_only_an_unresolved_verdict_runs_two_more_seeds() -> None:
    plan, seeds = design(base(), 128), list[int]()
    for slope in (0.0, 0.3, 0.6):
        report = carry_out(plan, grown(slope, spread=0.1), lambda spec: seeds.append(spec.seed))
        assert report.seeds == max(seeds) + 1
        assert len(seeds) == 4 * report.seeds
        seeds.clear()
        assert (report.verdict, report.seeds) == {
            0.0: ("pass", 3),
            0.3: ("unresolved", 5),
            0.6: ("fail", 3),
        }[slope]


def test_a_check_is_a_fold_whatever_the_order_of_its_trials() -> None:
    plan = design(base(), 128)
    trials = {trial.digest: trial for trial in trials_of(plan, 5, grown(0.3, spread=0.1))}
    assert step(plan, trials) == step(plan, dict(reversed(trials.items())))
    partial = dict(list(trials.items())[1:7])
    assert [spec.digest for spec in step(plan, partial).missing] == [
        s.digest for s in plan.runs[:12] if s.digest not in partial
    ]


# Which runs


@pytest.mark.parametrize(
    ("base_width", "target_width", "expected"),
    [
        (32, 256, (32, 64, 128, 256)),
        (32, 4096, (32, 64, 128, 256)),
        (32, 200, (16, 32, 64, 128)),  # the target is no doubling
        (32, 64, (16, 32, 64)),  # a quarter of 32 has no room for a head
        (64, 64, (16, 32, 64)),
        (16, 32, (16, 32)),
    ],
)
def test_the_widths_are_doublings_up_to_the_target_and_halves_where_those_are_few(
    base_width: int, target_width: int, expected: tuple[int, ...]
) -> None:
    assert widths_of(MODEL, base_width, target_width) == expected


def test_fewer_than_four_widths_train_nothing_and_say_so() -> None:
    report = carry_out(design(base(), 32), train_one, pytest.fail)
    assert report.verdict == "unresolved"
    assert "only 2 widths up to the target (16, 32)" in report.reason
    small = replace(design(base(), 32), seeds=2, most_seeds=2)
    assert "reduced" not in carry_out(small, train_one, pytest.fail).reason


def test_the_runs_are_short_at_constant_lr_without_decay_and_small_enough_for_one_pass() -> None:
    spec = replace(base(), horizon=replace(HORIZON, batch_tokens=1024, micro_batch_tokens=128))
    for run in design(spec, 128).runs:
        assert (run.optimizer.weight_decay, run.optimizer.lr, run.measure) == (
            0.0,
            MUON.lr,
            "coordinates",
        )
        assert (run.horizon.decay, run.horizon.warmup_fraction, run.horizon.batch_tokens) == (
            "constant",
            0.0,
            128,
        )
        assert run.model.base_width == 16
    assert design(replace(spec, horizon=HORIZON), 128).runs[0].horizon.batch_tokens == 256


def test_a_check_reduces_seeds_then_steps_then_is_skipped_to_stay_within_its_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(coordinate_design, "SECONDS", 0.0)
    whole = design(base(), 128)
    seed_flops = sum(trial_flops(run) for run in whole.runs[:4])
    designs = [
        design(base(), 128, share * seed_flops / 0.02 * 1.001) for share in (5, 3.5, 2, 1.1, 0.9)
    ]
    assert [(plan.seeds, plan.most_seeds, plan.steps) for plan in designs] == [
        (3, 5, 8),
        (3, 3, 8),
        (2, 2, 8),
        (2, 2, 4),
        (0, 0, 4),
    ]
    reports = [carry_out(plan, grown(0.3, spread=0.1)) for plan in designs]
    assert [report.verdict for report in reports] == ["unresolved"] * 4 + ["skipped"]
    assert [report.because.reduced for report in reports if report.because] == [
        None,
        None,
        Reduced(seeds=2, steps=8),
        Reduced(seeds=2, steps=4),
        None,
    ]
    assert "reduced to 2 seeds and 8 steps" in reports[2].reason
    assert reports[4].because == CheckReason(TooCostly())
    limited = design(base(), 128, math.inf, 10 * 2 * seed_flops * 1.001)
    assert (limited.seeds, limited.steps) == (2, 8)


# Why


def test_a_parametrisation_that_is_right_on_paper_is_not_blamed_on_its_rules() -> None:
    for optimizer in (
        MUON,
        ADAMW,
        replace(RMS, muon_lr_rule="inverse_sqrt"),
        replace(ADAMW, parametrisation="mup-paper"),
    ):
        assert misfits(*design(base(optimizer), 128).ends) == ()


def test_the_paper_s_muon_is_blamed_on_its_lr_rule() -> None:
    paper = replace(MUON, parametrisation="mup-paper")
    assert Exponent(LrRule.MUON, has=-1.0, needed=-0.5, update_scale="rms_match") in misfits(
        *design(base(paper), 128).ends
    )


# The picture


def test_the_picture_shows_failing_layers_in_another_colour(tmp_path: Path) -> None:
    from matplotlib.image import imread

    from telescope.studies.coordinates.plot import draw

    plan, red = design(base(), 128), np.array([209, 73, 91])
    for slope, failing in ((0.1, False), (0.9, True)):
        draw(
            {"muon": assess(plan, trials_of(plan, 3, grown(slope)))},
            tmp_path / "check.png",
            "a job",
        )
        # the left half, below titles
        drawn = np.round(imread(tmp_path / "check.png")[150:, :700, :3] * 255).astype(int)
        assert drawn.shape[0] > 400
        assert ((drawn == red).all(axis=2).sum() > 1500) == failing
