"""QK-clip: heads above the threshold are clipped exactly to it, all others stay the same bit for
bit, and only forward passes of training are observed.
"""

import math
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from telescope.models.attention import Attention, LatentAttention, Scores, largest_logits, rotary
from telescope.models.transformer import Transformer, initialise
from telescope.optim.qk_clip import LogitMonitor, clip_factors
from telescope.train.flops import step_flops
from telescope.train.loop import step_runs, train, train_one
from telescope.train.run import TrainingRun
from telescope.trials.model import ModelSpec
from telescope.trials.optimizer import OptimizerOptions
from tests.telescope.small import ADAMW, HORIZON, MODEL, MUON, trial

# scores x 8 / 2
TINY = ModelSpec(width=4, base_width=4, head_dim=2, positions="learned", attention_scale="inverse")


def rows(*values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def set_weights(layer: nn.Module, **projections: Tensor) -> None:
    """Set projections by name, all others to zero."""
    for name, parameter in layer.named_parameters():
        if name.endswith("norm.weight"):
            continue
        value = projections.get(name.removesuffix(".weight"), torch.zeros_like(parameter))
        assert value.shape == parameter.shape
        parameter.data = value.clone()


def observed_step(layer: Scores, x: Tensor, **options: float) -> Tensor:
    """The largest logits of one forward pass, (H). The layer is clipped afterwards if the options
    ask for it; there is no optimizer."""
    rotated_dim = layer.spec.rotated_dim
    angles = rotary(x.shape[1], rotated_dim, 10_000.0) if rotated_dim else None
    monitor = LogitMonitor((layer,), OptimizerOptions(**options))  # type: ignore[arg-type]
    monitor.begin_step()
    layer(x, angles)
    assert layer.largest is not None
    logits = layer.largest
    monitor.end_step()
    return logits


def test_a_factor_is_one_unless_a_finite_logit_is_above_the_threshold() -> None:
    logits = torch.tensor([-400.0, 0.0, 99.0, 100.0, 200.0, 1000.0, math.inf, -math.inf, math.nan])
    assert clip_factors(logits, 100.0).tolist() == [1, 1, 1, 1, 0.5, pytest.approx(0.1), 1, 1, 1]


def test_the_largest_logit_is_signed_and_respects_the_causal_mask() -> None:
    q, k = (
        torch.randint(-9, 10, (3, 4, 5, 2), generator=torch.Generator().manual_seed(seed)).float()
        for seed in (0, 1)
    )
    k = k[:, :2]
    expected = [
        # heads 0 and 1 share a key, and 2 and 3
        max(
            0.5 * float(q[b, h, i] @ k[b, h // 2, j])
            for b in range(3)
            for i in range(5)
            for j in range(i + 1)
        )
        for h in range(4)
    ]
    assert largest_logits(q, k, 0.5).tolist() == expected
    without_mask = [0.5 * float((q[:, h] @ k[:, h // 2].mT).max()) for h in range(4)]
    assert without_mask != expected
    assert float(largest_logits(-q.abs(), k.abs() + 1, 1.0).max()) <= 0


# Cases that are computed by hand: gamma is 1/4


def test_multi_head_attention_halves_queries_and_keys_of_the_loud_head() -> None:
    layer = Attention(TINY)
    query = rows([2, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1])
    key = rows([3, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1])
    set_weights(layer, query=query, key=key, value=torch.eye(4), output=torch.eye(4))
    x = torch.tensor([[[1.0, 0, 1, 0], [2, 1, 0, 1]]])
    # head 0: q = (2, 0), (4, 1), k = (3, 0), (6, 1); 4 x 25 at the second position. Head 1: 4 x 1
    assert observed_step(layer, x, qk_clip=25.0).tolist() == [100, 4]
    clipped_query = rows([1, 0, 0, 0], [0, 0.5, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1])
    clipped_key = rows([1.5, 0, 0, 0], [0, 0.5, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1])
    assert layer.query.weight.tolist() == clipped_query.tolist()
    assert layer.key.weight.tolist() == clipped_key.tolist()
    assert layer.value.weight.tolist() == layer.output.weight.tolist() == torch.eye(4).tolist()
    assert observed_step(layer, x).tolist() == [25, 4]


@pytest.mark.parametrize(("alpha", "query", "key"), [(0.0, 1.0, 0.25), (1.0, 0.25, 1.0)])
def test_alpha_divides_the_shrinking_between_queries_and_keys(
    alpha: float, query: float, key: float
) -> None:
    layer = Attention(TINY)
    set_weights(layer, query=torch.eye(4), key=torch.eye(4))
    x = torch.tensor([[[5.0, 0, 1, 0]]])
    assert observed_step(layer, x, qk_clip=25.0, qk_clip_alpha=alpha).tolist() == [100, 4]
    assert layer.query.weight.diag().tolist() == [query, query, 1, 1]
    assert layer.key.weight.diag().tolist() == [key, key, 1, 1]
    assert observed_step(layer, x).tolist() == [25, 4]


def test_grouped_query_attention_shrinks_the_whole_group_of_the_loudest_head() -> None:
    # heads 0 and 1 share a key, and 2 and 3
    layer = Attention(replace(TINY, width=8, base_width=8, query_heads_per_kv=2))
    query = torch.eye(8)
    query[1, 1] = 0.0
    key = torch.zeros(4, 8)
    key[0, 0] = key[0, 2] = key[2, 4] = key[2, 6] = 1.0
    set_weights(layer, query=query, key=key)
    x = torch.tensor([[[4.0, 0, 1, 0, 2, 0, 1, 0]]])
    # keys: (4 + 1, 0) and (2 + 1, 0); queries: 4, 1, 2, 1; all x 4
    assert observed_step(layer, x, qk_clip=20.0).tolist() == [80, 20, 24, 12]
    clipped = [0.5, 0, 0.5, 0.5, *[(20 / 24) ** 0.5] * 4]
    assert layer.query.weight.diag().tolist() == pytest.approx(clipped)
    assert layer.key.weight[:2].tolist() == (key[:2] / 2).tolist()
    assert observed_step(layer, x).tolist() == pytest.approx([20, 5, 20, 10])
    assert observed_step(layer, x, qk_clip=20.5).tolist() == pytest.approx([20, 5, 20, 10])
    # nothing is above the threshold any more
    assert observed_step(layer, x).tolist() == pytest.approx([20, 5, 20, 10])


def test_latent_attention_shrinks_rotary_queries_twice_and_never_the_shared_key() -> None:
    # scores x 8 / (2 + 2)
    spec = replace(TINY, attention="mla", positions="rotary", rotary_dim=2, kv_rank_ratio=0.5)
    layer = LatentAttention(spec)
    rotary_rows = rows([0, 0, 1, 0], [0, 0, 0, 1])
    weights = {
        "latent": rows([1, 0, 0, 0], [0, 1, 0, 0]),
        "key": rows([3, 0], [0, 1], [1, 0], [0, 0]),
        "query": rows([1, 0, 0, 0], [0, 2, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0]),
        "query_rotary": torch.cat((rotary_rows, rotary_rows / 2)),
        "key_rotary": rotary_rows,
        "value": torch.ones(4, 2),
        "output": torch.eye(4),
    }
    set_weights(layer, **weights)
    x = torch.tensor([[[1.0, 1, 2, 0]]])
    # The latent (1, 1) already has an RMS of 1. Head 0: q.k = (1, 2).(3, 1) = 5, and for the
    # rotated part (2, 0).(2, 0) = 4. Head 1: 0, and (1, 0).(2, 0) = 2.
    assert observed_step(layer, x, qk_clip=4.5).tolist() == pytest.approx([18, 4], rel=1e-5)
    clipped = {
        "query": rows([0.5, 0, 0, 0], [0, 1, 0, 0]),
        "key": rows([1.5, 0], [0, 0.5]),
        "query_rotary": rotary_rows / 4,
    }
    for name, before in weights.items():
        after = layer.get_parameter(f"{name}.weight")
        torch.testing.assert_close(after[:2], clipped.get(name, before[:2]), rtol=1e-5, atol=0.0)
        assert torch.equal(after[2:], before[2:]), "head 1 is below the threshold"
    assert torch.equal(layer.key_rotary.weight, rotary_rows)
    assert observed_step(layer, x).tolist() == pytest.approx([4.5, 4], rel=1e-5)


# Complete models


KINDS = {
    "multi-head": MODEL,
    "grouped": replace(MODEL, query_heads_per_kv=2),
    "latent": replace(MODEL, attention="mla"),
}


def logits_of(net: Transformer, **options: float) -> Tensor:
    """The largest logits of one step's forward pass, by layer and head; clipped afterwards if the
    options ask for it."""
    monitor = LogitMonitor(net.scores(), OptimizerOptions(**options))  # type: ignore[arg-type]
    monitor.begin_step()
    net(torch.randint(0, 50, (3, 12), generator=torch.Generator().manual_seed(0)))
    logits = torch.stack([block.attention.largest for block in net.blocks])
    monitor.end_step()
    return logits


@pytest.mark.parametrize("model", KINDS.values(), ids=KINDS)
def test_groups_above_the_threshold_fall_to_it_and_others_stay_bit_for_bit(
    model: ModelSpec,
) -> None:
    net = Transformer(model, 50, 12, "mup")
    initialise(net, MUON, seed=0)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    # with rotated positions, over several windows
    groups = logits_of(net).view(model.kv_heads, -1).amax(1)
    tau = float(groups.min() + groups.max()) / 2
    logits_of(net, qk_clip=tau)
    quiet = groups <= tau
    assert 0 < int(quiet.sum()) < len(groups)
    clipped_groups = logits_of(net).view(model.kv_heads, -1).amax(1)
    torch.testing.assert_close(clipped_groups, groups.clamp(max=tau), rtol=1e-5, atol=0.0)
    shrunk = {"query", "key"} | ({"query_rotary"} if model.attention == "mla" else set())
    for name, after in net.state_dict().items():
        projection = name.removeprefix("blocks.0.attention.").removesuffix(".weight")
        if projection in shrunk:
            group_rows = [weight.view(model.kv_heads, -1) for weight in (after, before[name])]
            unchanged = [torch.equal(a, b) for a, b in zip(*group_rows, strict=True)]
            assert unchanged == quiet.tolist()
        else:
            assert torch.equal(after, before[name])


# In training


LOUD = replace(MUON, lr=0.2, qk_clip=1.0)


def test_the_largest_logit_covers_all_micro_batches_of_the_step() -> None:
    horizon = replace(HORIZON, micro_batch_tokens=32)
    spec = trial(replace(MUON, measure_max_logit=True), horizon=horizon)
    run, reference = TrainingRun(spec), TrainingRun(spec)
    monitor = reference.logit_monitor
    assert monitor
    max_logits = []
    for windows in reference.micro_batches():
        monitor.begin_step()
        reference.model(windows[:, :-1])
        monitor.end_step()
        max_logits.append(monitor.metrics()["max_logit"])
        monitor.begin_interval()
    assert len(max_logits) == 4
    assert max_logits.index(max(max_logits)) < 3
    step_runs([run])
    assert run.logit_monitor
    assert run.logit_monitor.metrics() == {"max_logit": max(max_logits)}
    run.point(run.metrics(run.judge()))
    # a point of the curve resets the metrics
    assert run.logit_monitor.metrics() == {"max_logit": -math.inf}


def test_held_out_losses_and_probes_are_not_observed() -> None:
    run = TrainingRun(trial(LOUD))
    assert run.logit_monitor
    step_runs([run])
    largest = float(run.logit_monitor.largest)
    with torch.no_grad():
        for layer in run.logit_monitor.layers:
            layer.get_parameter("query.weight").mul_(100)
    run.evaluate()
    run.step = HORIZON.steps - 1
    run.prepare_ending()
    assert run.ending
    assert float(run.logit_monitor.largest) == largest
    assert all(layer.largest is None for layer in run.logit_monitor.layers)
    curve, evaluated = (
        list(train_one(trial(LOUD, horizon=replace(HORIZON, evaluate_every=every))))
        for every in (None, 1)
    )
    points = {point.step: point.metrics for point in evaluated}
    assert curve[-1].metrics["loss"] == points[12]["loss"]
    assert max(points[step]["max_logit"] for step in (10, 11, 12)) == curve[-1].metrics["max_logit"]


def test_observing_logits_costs_its_flops_and_does_not_change_the_losses() -> None:
    plain, observed = trial(MUON), trial(replace(MUON, measure_max_logit=True))
    curve, observed_curve = (
        [point.metrics for point in train_one(spec)] for spec in (plain, observed)
    )
    for metrics, observed_metrics in zip(curve, observed_curve, strict=True):
        assert observed_metrics["train_loss"] == metrics["train_loss"]
        assert observed_metrics["max_logit"] > 0
        assert "clipped_heads" not in observed_metrics
    logit_flops = 2 * MODEL.heads * MODEL.head_dim * observed.data.context
    assert step_flops(observed) - step_flops(plain) == HORIZON.batch_tokens * logit_flops


@pytest.mark.parametrize(
    "model", [KINDS["multi-head"], KINDS["latent"]], ids=["multi-head", "latent"]
)
def test_logits_explode_without_and_stay_bounded_with_it(model: ModelSpec) -> None:
    """Muon at a learning rate far too high: without clipping, logits grow a hundredfold and more.
    Losses are not compared: at this rate they differ between seeds and processors by more than
    clipping changes them."""
    horizon = replace(HORIZON, steps=60, batch_tokens=512, record_every=10)
    optimizer = replace(MUON, lr=1.0, weight_decay=0.0, measure_max_logit=True)
    free, clipped = (
        [
            point.metrics
            for point in train_one(trial(replace(optimizer, qk_clip=tau), model, horizon))
        ]
        for tau in (None, 20.0)
    )
    assert free[-1]["max_logit"] > 5000
    # each step begins with logits of at most 20, and does not lift them far above that
    assert all(metrics["max_logit"] < 200 for metrics in clipped)
    assert all(0 < metrics["clipped_heads"] <= model.heads for metrics in clipped)
    assert all(math.isfinite(metrics["train_loss"]) for metrics in clipped)


def test_heads_with_infinite_logits_are_not_clipped_and_the_trial_diverges() -> None:
    layer = Attention(TINY)
    set_weights(layer, query=torch.eye(4), key=torch.eye(4) * 2)
    logits = observed_step(layer, torch.tensor([[[1e30, 0.0, 9, 0]]]), qk_clip=1.0)
    assert logits.tolist() == [math.inf, 4 * 2 * 81]
    assert layer.query.weight.diag().tolist() == pytest.approx([1, 1, 648**-0.5, 648**-0.5])
    points = list(train_one(trial(replace(ADAMW, lr=1e30, qk_clip=1.0))))
    assert math.isinf(points[-1].metrics["loss"])


def test_a_trial_whose_logits_are_observed_trains_alone() -> None:
    with pytest.raises(AssertionError, match="trains alone"):
        list(train([trial(LOUD), trial(LOUD, seed=1)]))


def test_options_that_would_have_no_effect_are_refused() -> None:
    words = r"qk_clip: has no effect under model\.qk_norm.*leave out qk_clip"
    with pytest.raises(ValidationError, match=words):
        trial(LOUD, replace(MODEL, qk_norm=True))
    with pytest.raises(ValidationError, match="qk_clip_alpha: has no meaning without qk_clip"):
        trial(replace(MUON, qk_clip_alpha=0.3))
    trial(replace(MUON, measure_max_logit=True), replace(MODEL, qk_norm=True))
