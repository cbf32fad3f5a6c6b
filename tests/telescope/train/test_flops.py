"""FLOPs of trials, against counts by hand and against torch's own counter."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from telescope.data import batches
from telescope.models.transformer import Transformer, initialise
from telescope.studies.coordinates.design import design
from telescope.train import flops
from telescope.train.checkpoint import CheckpointFile
from telescope.train.loop import train_one
from telescope.trials.data import DataSpec
from telescope.trials.horizon import Branch, HorizonSpec
from telescope.trials.model import ModelSpec
from telescope.trials.optimizer import OptimizerSpec
from telescope.trials.outcome import Measurement
from telescope.trials.spec import TrialSpec
from tests.telescope.small import ADAMW, HORIZON, MODEL, MUON, stdlib, trial


def test_newton_schulz_on_the_reference_shape() -> None:
    # one block of width 128 whose feed-forward has 512 units: 4 square, 3 of 128 x 512
    square, rectangular = 5 * 6 * 128**3, 188_743_680
    model = ModelSpec(width=128, base_width=128, depth=1)
    assert flops.newton_schulz_flops(model, 5) == 4 * square + 3 * rectangular


@contextmanager
def torch_counter() -> Iterator[FlopCounterMode]:
    """Torch's counter, with its plain attention: it counts nothing for the CPU's fused
    attention."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        yield counter


def test_training_flops_agree_with_torchs_count() -> None:
    spec = ModelSpec(width=64, base_width=64, depth=2, mlp="gelu", query_heads_per_kv=2)
    model = Transformer(spec, 100, 32, "mup")
    initialise(model, OptimizerSpec(name="adamw", lr=0.1, weight_decay=0.0), 0)
    torch.nn.init.normal_(model.head.weight)  # type: ignore[union-attr]
    tokens = torch.zeros(4, 32, dtype=torch.long)
    with torch_counter() as counter:
        model(tokens).sum().backward()
    ours = 4 * 32 * flops.training_flops_per_token(spec, 100, 32)
    assert abs(counter.get_total_flops() / ours - 1) < 0.02


def test_a_muon_trial_costs_its_orthogonalisation_on_top_of_adamws() -> None:
    muon, adamw = trial(), trial(ADAMW)
    extra = muon.horizon.steps * flops.newton_schulz_flops(muon.model, 5)
    assert extra > 0
    assert flops.trial_flops(muon) == flops.trial_flops(adamw) + extra


def points_and_flops(spec: TrialSpec) -> tuple[list[Measurement], float]:
    """The points of a run, and the operations that torch counts from its beginning to its end."""
    with torch_counter() as counter:
        points = list(train_one(spec))
    return points, float(counter.get_total_flops())


TWO_BLOCKS = TrialSpec(
    model=ModelSpec(width=32, base_width=32, depth=2),
    optimizer=MUON,
    data=stdlib(64),
    horizon=HorizonSpec(steps=10, batch_tokens=512),
)
GROUPED = replace(MODEL, query_heads_per_kv=2, tied_embeddings=True, mlp="relu2")
RUNS = {
    "muon": TWO_BLOCKS,
    "adamw": replace(TWO_BLOCKS, optimizer=ADAMW),
    "grouped, tied heads": trial(ADAMW, model=GROUPED),
    "two steps": trial(horizon=HorizonSpec(steps=2, batch_tokens=32, evaluation_tokens=32)),
    "like GPT-2": trial(
        ADAMW,
        model=replace(MODEL, positions="learned", norm="layer", mlp="gelu", tied_embeddings=True),
    ),
    "clipped": trial(replace(MUON, qk_clip=1.0), horizon=replace(HORIZON, micro_batch_tokens=64)),
    "latent attention, clipped": trial(
        replace(ADAMW, qk_clip=1.0), model=replace(MODEL, attention="mla")
    ),
    "micro-batches": trial(horizon=replace(HORIZON, micro_batch_tokens=32)),
    "evaluated during the run": trial(horizon=replace(HORIZON, steps=10, evaluate_every=4)),
    "evaluated during the run, and at the end by interval": trial(
        horizon=replace(HORIZON, evaluate_every=4)
    ),
    "timed": replace(trial(horizon=replace(HORIZON, evaluate_every=4)), measure="time"),
    "coordinates of muon": design(TWO_BLOCKS, 256).runs[0],
    "coordinates of adamw": design(replace(TWO_BLOCKS, optimizer=ADAMW), 256).runs[2],
    "coordinates of few tokens": design(trial(ADAMW), 128).runs[1],
    "coordinates of many tokens": replace(
        design(TWO_BLOCKS, 256).runs[0],
        horizon=HorizonSpec(steps=3, batch_tokens=832, evaluation_tokens=64),
    ),
}


@pytest.mark.parametrize("spec", RUNS.values(), ids=RUNS)
def test_flops_of_a_complete_run_agree_with_torchs_count(spec: TrialSpec) -> None:
    points, total = points_and_flops(spec)
    assert points[-1].flops == flops.trial_flops(spec)
    assert total == pytest.approx(flops.trial_flops(spec), rel=1e-9)


@pytest.mark.parametrize("evaluate_every", [None, 7, 10])
def test_flops_of_a_run_that_diverges_agree_with_torchs_count(evaluate_every: int | None) -> None:
    horizon = replace(HORIZON, steps=200, record_every=10, evaluate_every=evaluate_every)
    spec = trial(replace(ADAMW, lr=1e4), horizon=horizon)
    points, total = points_and_flops(spec)
    assert math.isinf(points[-1].metrics["loss"])
    assert points[-1].step < 200
    assert total == pytest.approx(points[-1].flops, rel=1e-9)


@pytest.mark.parametrize(("evaluate_every", "end"), [(4, 8), (6, 12)])
def test_flops_of_a_run_that_stops_below_its_loss_agree_with_torchs_count(
    evaluate_every: int, end: int
) -> None:
    horizon = replace(HORIZON, evaluate_every=evaluate_every)
    curve = train_one(trial(horizon=horizon))
    target = next(point for point in curve if point.step == end).metrics["loss"]
    spec = trial(horizon=replace(horizon, stop_below_loss=target))
    points, total = points_and_flops(spec)
    assert points[-1].step == end
    assert total == pytest.approx(points[-1].flops, rel=1e-9)
    assert (points[-1].flops == flops.trial_flops(spec)) == (end == 12)


BRANCHES = {
    "muon": trial(horizon=replace(HORIZON, steps=20, record_every=4)),
    "adamw, evaluated at the branch": trial(
        ADAMW, horizon=replace(HORIZON, steps=20, evaluate_every=8)
    ),
    "adamw, evaluated beside the branch": trial(
        ADAMW, horizon=replace(HORIZON, steps=20, evaluate_every=3)
    ),
}


@pytest.mark.parametrize("spec", BRANCHES.values(), ids=BRANCHES)
def test_flops_of_a_branch_agree_with_torchs_count(spec: TrialSpec, tmp_path: Path) -> None:
    trunk = replace(spec, kept_steps=(8,))
    list(train_one(trunk, CheckpointFile(tmp_path / "trunk.pt")))
    branch = replace(spec, branch=Branch(trunk=trunk.digest, step=8))
    with torch_counter() as counter:
        points = list(train_one(branch, CheckpointFile(tmp_path / "branch.pt")))
    assert counter.get_total_flops() == pytest.approx(points[-1].flops, rel=1e-9)
    assert points[-1].flops == flops.trial_flops(branch)
    trunk_flops = flops.flops_until(spec, 8)
    expected = [flops.flops_until(spec, point.step) - trunk_flops for point in points]
    assert [point.flops for point in points] == pytest.approx(expected, rel=1e-12)


def test_flops_of_a_held_out_loss_count_the_tokens_that_a_short_text_has() -> None:
    text = batches.resolve(DataSpec(corpus=str(Path(__file__).parents[3] / "LICENSE"), context=32))
    spec = replace(trial(), data=text, horizon=replace(HORIZON, evaluation_tokens=16_384))
    points, total = points_and_flops(spec)
    assert total == pytest.approx(points[-1].flops, rel=1e-9)
    assert points[-1].flops < 0.8 * flops.trial_flops(spec)
