"""Packs: the curve of each member is the same as alone, even if other members join, leave or
diverge."""

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from telescope.models.transformer import Transformer, initialise
from telescope.train import pack
from telescope.train.checkpoint import CheckpointFile
from telescope.train.loop import CurvePoint, Last, Left, train, train_one
from telescope.trials.horizon import Branch
from telescope.trials.model import ModelSpec
from telescope.trials.optimizer import OptimizerSpec
from telescope.trials.outcome import Measurement
from telescope.trials.spec import TrialSpec
from tests.telescope.small import ADAMW, HORIZON, MODEL, MUON, trial

# float32, since bfloat16 can amplify the last bit of a gradient
EXACT_MUON = replace(MUON, newton_schulz_dtype="float32")
GQA = replace(MODEL, query_heads_per_kv=2, qk_norm=True)
TIED = replace(MODEL, tied_embeddings=True, mlp="relu2")
LATENT = replace(MODEL, attention="mla", mlp="geglu")
GPT2 = replace(MODEL, positions="learned", norm="layer", mlp="gelu", tied_embeddings=True)
VARIANTS = {
    "muon": (EXACT_MUON, MODEL),
    "adamw": (ADAMW, MODEL),
    "muon_gqa": (EXACT_MUON, GQA),
    "adamw_gqa": (ADAMW, GQA),
    "adamw_tied": (ADAMW, TIED),
    "muon_latent": (EXACT_MUON, LATENT),
    "adamw_gpt2": (ADAMW, GPT2),
}


def members(
    optimizer: OptimizerSpec, model: ModelSpec, micro_batch_tokens: int | None = None
) -> tuple[TrialSpec, ...]:
    """Four trials of one shape that differ in every hyperparameter in which members may differ."""
    horizon = replace(HORIZON, micro_batch_tokens=micro_batch_tokens)
    changed = replace(
        optimizer,
        lr=optimizer.lr * 2,
        weight_decay=0.0,
        adamw_lr_ratio=0.25,
        momentum=0.8,
        beta1=0.8,
        beta2=0.9,
        init_scale=0.5,
    )
    return (
        trial(optimizer, model, horizon),
        trial(optimizer, model, horizon, seed=1),
        trial(changed, model, horizon),
        trial(
            replace(optimizer, eps=1e-3),
            model,
            replace(horizon, warmup_fraction=0.5, decay="cosine"),
            seed=2,
        ),
    )


def curves(specs: Sequence[TrialSpec]) -> list[list[Measurement]]:
    """Points of each member of a pack."""
    result: list[list[Measurement]] = [[] for _ in specs]
    for progress in train(specs):
        assert not isinstance(progress, Left)
        result[progress.index].append(progress.measurement)
    return result


@cache
def alone(spec: TrialSpec) -> list[Measurement]:
    """Points of a trial that trains alone."""
    return list(train_one(spec))


def assert_same(curve: Sequence[Measurement], expected_curve: Sequence[Measurement]) -> None:
    """Assert that two curves are equal to rounding, except for their seconds."""
    for point, expected in zip(curve, expected_curve, strict=True):
        assert (point.step, point.tokens) == (expected.step, expected.tokens)
        assert point.flops == expected.flops
        assert point.metrics == pytest.approx(expected.metrics, rel=2e-5, abs=1e-6)


@pytest.mark.parametrize(
    ("variant", "micro_batch_tokens"),
    [*((variant, None) for variant in VARIANTS), ("muon", 32), ("adamw_gqa", 64)],
)
def test_each_member_has_the_curve_that_it_has_alone(
    variant: str, micro_batch_tokens: int | None
) -> None:
    specs = members(*VARIANTS[variant], micro_batch_tokens)
    together = curves(specs)
    for spec, curve in zip(specs, together, strict=True):
        assert_same(curve, alone(spec))
    finals = [curve[-1].metrics["loss"] for curve in together]
    # the four trials are different
    assert all(abs(a - b) > 1e-3 for a, b in itertools.combinations(finals, 2))


def test_bfloat16_newton_schulz_agrees_within_its_own_rounding() -> None:
    specs = members(MUON, MODEL)
    for spec, curve in zip(specs, curves(specs), strict=True):
        assert curve[-1].metrics["loss"] == pytest.approx(alone(spec)[-1].metrics["loss"], rel=2e-3)


@pytest.mark.parametrize("optimizer", [EXACT_MUON, ADAMW], ids=["muon", "adamw"])
def test_a_member_that_diverges_does_not_affect_the_others(optimizer: OptimizerSpec) -> None:
    first, _, _, second = members(optimizer, MODEL)
    diverging = replace(first, optimizer=replace(optimizer, lr=1e30))
    diverged, *rest = curves((diverging, first, second))
    assert diverged[-1].metrics["loss"] == math.inf
    assert diverged[-1].step < HORIZON.steps
    for spec, curve in zip((first, second), rest, strict=True):
        assert_same(curve, alone(spec))


def test_a_member_that_is_stopped_leaves_and_the_others_continue() -> None:
    specs = members(ADAMW, MODEL)
    progress = list(train(specs, stopping=lambda index: index == 1))
    assert [event for event in progress if event.index == 1] == [Left(1)]
    for i in (0, 2, 3):
        events = [event for event in progress if event.index == i]
        assert [type(event) for event in events] == [CurvePoint] * (len(events) - 1) + [Last]
        assert_same([event.measurement for event in events], alone(specs[i]))  # type: ignore[union-attr]


def test_a_member_may_leave_between_two_points(tmp_path: Path) -> None:
    steps = itertools.count()
    specs = [trial(ADAMW, horizon=replace(HORIZON, record_every=5))]
    first, *rest = train(specs, stopping=lambda index: next(steps) == 7)
    assert isinstance(first, CurvePoint)
    assert first.measurement.step == 5
    assert rest == [Left(0)]


@pytest.mark.parametrize("optimizer", [EXACT_MUON, ADAMW], ids=["muon", "adamw"])
def test_trials_resume_from_their_checkpoints_in_other_packs(
    optimizer: OptimizerSpec, tmp_path: Path
) -> None:
    specs = members(optimizer, MODEL)
    files = [CheckpointFile(tmp_path / f"{i}.pt", every_seconds=0) for i in range(4)]
    first = train(specs[:3], files[:3])
    for _ in range(4):  # the first point of each, and one more
        next(first)
    first.close()
    resumed: dict[int, list[Measurement]] = {0: [], 3: []}
    # a new trial beside one that is ahead of it
    for progress in train((specs[3], specs[0]), (files[3], files[0])):
        assert not isinstance(progress, Left)
        resumed[3 if progress.index == 0 else 0].append(progress.measurement)
    assert files[0].step == 3
    assert_same(resumed[0], alone(specs[0])[1:])
    assert_same(resumed[3], alone(specs[3]))
    for i in (1, 2):
        assert_same(list(train_one(specs[i], files[i])), alone(specs[i])[1:])


def test_every_member_may_be_evaluated_during_its_run() -> None:
    specs = [
        replace(spec, horizon=replace(spec.horizon, evaluate_every=4))
        for spec in members(ADAMW, MODEL)
    ]
    for spec, curve in zip(specs, curves(specs), strict=True):
        assert [point.step for point in curve if "loss" in point.metrics] == [4, 8, 12]
        assert_same(curve, alone(spec))


def test_members_that_measure_coordinates_record_the_same_as_alone() -> None:
    specs = [replace(spec, measure="coordinates") for spec in members(ADAMW, MODEL)[:2]]
    for spec, curve in zip(specs, curves(specs), strict=True):
        assert_same(curve, alone(spec))


def test_the_time_of_a_pack_is_shared_by_its_members() -> None:
    specs = [
        replace(spec, horizon=replace(spec.horizon, evaluation_tokens=8192))
        for spec in members(ADAMW, MODEL)
    ]
    started = time.perf_counter()
    together = curves(specs)
    wall_seconds = time.perf_counter() - started
    for curve in together:
        assert all(
            point.seconds > before.seconds > 0 for before, point in itertools.pairwise(curve)
        )
    totals = [curve[-1].seconds for curve in together]
    assert sum(totals) <= wall_seconds
    assert max(totals) < 1.5 * min(totals), "members that are evaluated last are charged no more"


def test_only_seeds_and_some_hyperparameters_may_differ_within_a_pack() -> None:
    specs = members(MUON, MODEL)
    spec = specs[0]
    evaluated = replace(spec, horizon=replace(spec.horizon, evaluate_every=4))
    stopping = replace(evaluated, horizon=replace(evaluated.horizon, stop_below_loss=3.0))
    assert pack.shape(stopping) == pack.shape(evaluated)
    trunk = replace(spec, kept_steps=(6,))
    branch = replace(spec, branch=Branch(trunk=trunk.digest, step=6))
    assert len({pack.shape(spec) for spec in (*specs, trunk, branch)}) == 1
    others = [
        replace(spec, model=replace(spec.model, width=64)),
        replace(spec, optimizer=ADAMW),
        replace(spec, optimizer=replace(spec.optimizer, parametrisation="standard")),
        replace(spec, horizon=replace(spec.horizon, batch_tokens=256)),
        replace(spec, horizon=replace(spec.horizon, steps=13)),
        replace(spec, measure="coordinates"),
        evaluated,
    ]
    assert len({pack.shape(other) for other in (spec, *others)}) == 1 + len(others)


def test_trials_of_different_shapes_cannot_form_a_pack() -> None:
    with pytest.raises(AssertionError, match="one shape"):
        next(train((trial(), trial(ADAMW))))


def test_losses_and_gradients_of_a_pack_are_those_of_its_members() -> None:
    models = [Transformer(replace(GQA, depth=2), 50, 16, "mup") for _ in range(3)]
    for seed, model in enumerate(models):
        initialise(model, ADAMW, seed)
        assert model.head is not None
        torch.nn.init.normal_(model.head.weight, generator=torch.Generator().manual_seed(seed))
    windows = torch.randint(50, (3, 4, 17), generator=torch.Generator().manual_seed(9))

    def gradients(losses: torch.Tensor) -> list[torch.Tensor]:
        parameters = [parameter for model in models for parameter in model.parameters()]
        return list(torch.autograd.grad(losses.sum(), parameters))

    together = pack.losses(models, windows)
    separate = torch.cat(
        [
            pack.losses([model], own_windows[None])
            for model, own_windows in zip(models, windows, strict=True)
        ]
    )
    torch.testing.assert_close(together, separate)
    torch.testing.assert_close(gradients(together), gradients(separate), rtol=1e-4, atol=1e-7)
