"""Packs: each trial's curve is the same as alone, whichever trials join, leave or break beside
it."""

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

# in bfloat16 the last bit of a gradient can become its first
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
    """Four trials of one shape that differ in all that may differ."""
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
    found: list[list[Measurement]] = [[] for _ in specs]
    for told in train(specs):
        assert not isinstance(told, Left)
        found[told.index].append(told.measurement)
    return found


@cache
def alone(spec: TrialSpec) -> list[Measurement]:
    """Points of a trial that trains alone."""
    return list(train_one(spec))


def assert_same(curve: Sequence[Measurement], other: Sequence[Measurement]) -> None:
    """Equal to rounding, except for the seconds."""
    assert [(point.step, point.tokens, point.flops) for point in curve] == [
        (point.step, point.tokens, point.flops) for point in other
    ]
    for point, expected in zip(curve, other, strict=True):
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
    # they are different trials
    assert all(abs(a - b) > 1e-3 for a, b in itertools.combinations(finals, 2))


def test_bfloat16_newton_schulz_agrees_within_its_own_rounding() -> None:
    specs = members(MUON, MODEL)
    for spec, curve in zip(specs, curves(specs), strict=True):
        assert curve[-1].metrics["loss"] == pytest.approx(alone(spec)[-1].metrics["loss"], rel=2e-3)


@pytest.mark.parametrize("optimizer", [EXACT_MUON, ADAMW], ids=["muon", "adamw"])
def test_a_member_that_diverges_leaves_and_the_others_do_not_notice(
    optimizer: OptimizerSpec,
) -> None:
    calm, _, _, other = members(optimizer, MODEL)
    wild = replace(calm, optimizer=replace(optimizer, lr=1e30))
    lost, *rest = curves((wild, calm, other))
    assert lost[-1].metrics["loss"] == math.inf
    assert lost[-1].step < HORIZON.steps
    for spec, curve in zip((calm, other), rest, strict=True):
        assert_same(curve, alone(spec))


def test_a_member_that_is_asked_to_leave_does_and_the_others_go_on() -> None:
    specs = members(ADAMW, MODEL)
    everything = list(train(specs, stopping=lambda index: index == 1))
    assert [told for told in everything if told.index == 1] == [Left(1)]
    for i in (0, 2, 3):
        ours = [told for told in everything if told.index == i and not isinstance(told, Left)]
        assert [type(told) for told in ours] == [CurvePoint] * (len(ours) - 1) + [Last]
        assert_same([told.measurement for told in ours], alone(specs[i]))


def test_a_member_may_leave_between_two_points(tmp_path: Path) -> None:
    steps = itertools.count()
    told = list(
        train(
            [trial(ADAMW, horizon=replace(HORIZON, record_every=5))],
            stopping=lambda index: next(steps) == 7,
        )
    )
    assert [told[0].measurement.step, type(told[0]), *told[1:]] == [5, CurvePoint, Left(0)]


@pytest.mark.parametrize("optimizer", [EXACT_MUON, ADAMW], ids=["muon", "adamw"])
def test_trials_resume_from_their_own_checkpoints_in_any_company(
    optimizer: OptimizerSpec, tmp_path: Path
) -> None:
    specs = members(optimizer, MODEL)
    files = [CheckpointFile(tmp_path / f"{i}.pt", every_seconds=0) for i in range(4)]
    first = train(specs[:3], files[:3])
    for _ in range(4):  # the first point of each, and one more
        next(first)
    first.close()
    resumed: dict[int, list[Measurement]] = {0: [], 3: []}
    # a newcomer beside one that is ahead of it
    for told in train((specs[3], specs[0]), (files[3], files[0])):
        assert not isinstance(told, Left)
        resumed[3 if told.index == 0 else 0].append(told.measurement)
    assert files[0].step == 3
    assert_same(resumed[0], alone(specs[0])[1:])
    assert_same(resumed[3], alone(specs[3]))
    assert_same(list(train_one(specs[1], files[1])), alone(specs[1])[1:])  # by itself
    assert_same([told.measurement for told in train((specs[2],), (files[2],))], alone(specs[2])[1:])


def test_every_member_may_be_evaluated_on_its_way() -> None:
    specs = [
        replace(spec, horizon=replace(spec.horizon, evaluate_every=4))
        for spec in members(ADAMW, MODEL)
    ]
    for spec, curve in zip(specs, curves(specs), strict=True):
        assert [point.step for point in curve if "loss" in point.metrics] == [4, 8, 12]
        assert_same(curve, alone(spec))


def test_members_that_measure_coordinates_say_what_they_say_alone() -> None:
    specs = [replace(spec, measure="coordinates") for spec in members(ADAMW, MODEL)[:2]]
    for spec, curve in zip(specs, curves(specs), strict=True):
        assert_same(curve, alone(spec))


def test_the_time_of_a_pack_is_shared_by_its_members() -> None:
    specs = [
        replace(spec, horizon=replace(spec.horizon, evaluation_tokens=8192))
        for spec in members(ADAMW, MODEL)
    ]
    began = time.perf_counter()
    together = curves(specs)
    wall = time.perf_counter() - began
    assert all(
        b.seconds > a.seconds > 0 for curve in together for a, b in itertools.pairwise(curve)
    )
    ends = [curve[-1].seconds for curve in together]
    assert sum(ends) <= wall
    assert max(ends) < 1.5 * min(ends), "those that are evaluated last pay no more"


def test_numbers_and_seeds_may_differ_within_a_pack_and_nothing_else() -> None:
    specs = members(MUON, MODEL)
    spec = specs[0]
    stopping = replace(spec, horizon=replace(spec.horizon, evaluate_every=4))
    assert pack.shape(
        replace(stopping, horizon=replace(stopping.horizon, stop_below_loss=3.0))
    ) == pack.shape(stopping)
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
        stopping,
    ]
    assert len({pack.shape(other) for other in (spec, *others)}) == 1 + len(others)


def test_trials_of_different_shapes_are_no_pack() -> None:
    with pytest.raises(AssertionError, match="one shape"):
        next(train((trial(), trial(ADAMW))))


def test_losses_and_gradients_of_a_pack_are_those_of_its_members() -> None:
    models = [Transformer(replace(GQA, depth=2), 50, 16, "mup") for _ in range(3)]
    for seed, model in enumerate(models):
        initialise(model, ADAMW, seed)
        assert model.head is not None
        torch.nn.init.normal_(model.head.weight, generator=torch.Generator().manual_seed(seed))
    windows = torch.randint(50, (3, 4, 17), generator=torch.Generator().manual_seed(9))

    def gradients(found: torch.Tensor) -> list[torch.Tensor]:
        return list(
            torch.autograd.grad(
                found.sum(), [parameter for model in models for parameter in model.parameters()]
            )
        )

    together = pack.losses(models, windows)
    apart = torch.cat(
        [pack.losses([model], one[None]) for model, one in zip(models, windows, strict=True)]
    )
    torch.testing.assert_close(together, apart)
    torch.testing.assert_close(gradients(together), gradients(apart), rtol=1e-4, atol=1e-7)
