"""QK-clip: heads beyond the threshold are clipped exactly to it, all others stay the same bit for
bit, and only training is observed.
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


def weights(layer: nn.Module, **given: Tensor) -> None:
    """Set projections by name, all others to zero."""
    for name, parameter in layer.named_parameters():
        if name.endswith("norm.weight"):
            continue
        value = given.get(name.removesuffix(".weight"), torch.zeros_like(parameter))
        assert value.shape == parameter.shape
        parameter.data = value.clone()


def looked_at(layer: Scores, x: Tensor, **options: float) -> Tensor:
    """A step without an optimizer: the largest logits of one forward pass, after which the layer is
    clipped if the options ask for it."""
    angles = (
        rotary(x.shape[1], layer.spec.rotated_dim, 10_000.0) if layer.spec.rotated_dim else None
    )
    watch = LogitMonitor((layer,), OptimizerOptions(**options))  # type: ignore[arg-type]
    watch.begin_step()
    layer(x, angles)
    assert layer.largest is not None
    found = layer.largest
    watch.end_step()
    return found


def test_a_factor_is_one_but_where_a_finite_logit_is_above_the_threshold() -> None:
    logits = torch.tensor([-400.0, 0.0, 99.0, 100.0, 200.0, 1000.0, math.inf, -math.inf, math.nan])
    assert clip_factors(logits, 100.0).tolist() == [1, 1, 1, 1, 0.5, pytest.approx(0.1), 1, 1, 1]


def test_the_largest_logit_is_signed_and_of_positions_that_see_each_other() -> None:
    q, k = (
        torch.randint(-9, 10, (3, 4, 5, 2), generator=torch.Generator().manual_seed(seed)).float()
        for seed in (0, 1)
    )
    k = k[:, :2]
    seen = [
        # heads 0, 1 share a key
        max(
            0.5 * float(q[b, h, i] @ k[b, h // 2, j])
            for b in range(3)
            for i in range(5)
            for j in range(i + 1)
        )
        for h in range(4)
    ]
    assert largest_logits(q, k, 0.5).tolist() == seen
    everywhere = [0.5 * float((q[:, h] @ k[:, h // 2].mT).max()) for h in range(4)]
    assert everywhere != seen, "the future would have had a larger one"
    assert float(largest_logits(-q.abs(), k.abs() + 1, 1.0).max()) <= 0


# Cases that are computed by hand: gamma is 1/4


def test_multi_head_attention_halves_queries_and_keys_of_the_loud_head() -> None:
    layer = Attention(TINY)
    query = rows([2, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1])
    key = rows([3, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1])
    weights(layer, query=query, key=key, value=torch.eye(4), output=torch.eye(4))
    x = torch.tensor([[[1.0, 0, 1, 0], [2, 1, 0, 1]]])
    # head 0: q = (2, 0), (4, 1), k = (3, 0), (6, 1); 4 x 25 at the second position. Head 1: 4 x 1
    assert looked_at(layer, x, qk_clip=25.0).tolist() == [100, 4]
    assert (
        layer.query.weight.tolist()
        == rows([1, 0, 0, 0], [0, 0.5, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]).tolist()
    )
    assert (
        layer.key.weight.tolist()
        == rows([1.5, 0, 0, 0], [0, 0.5, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]).tolist()
    )
    assert layer.value.weight.tolist() == layer.output.weight.tolist() == torch.eye(4).tolist()
    assert looked_at(layer, x).tolist() == [25, 4]


@pytest.mark.parametrize(("alpha", "query", "key"), [(0.0, 1.0, 0.25), (1.0, 0.25, 1.0)])
def test_alpha_says_who_is_shrunk(alpha: float, query: float, key: float) -> None:
    layer = Attention(TINY)
    weights(layer, query=torch.eye(4), key=torch.eye(4))
    x = torch.tensor([[[5.0, 0, 1, 0]]])
    assert looked_at(layer, x, qk_clip=25.0, qk_clip_alpha=alpha).tolist() == [100, 4]
    assert layer.query.weight.diag().tolist() == [query, query, 1, 1]
    assert layer.key.weight.diag().tolist() == [key, key, 1, 1]
    assert looked_at(layer, x).tolist() == [25, 4]


def test_grouped_query_attention_shrinks_the_whole_group_of_the_loudest_head() -> None:
    # heads 0 and 1 share a key, and 2 and 3
    layer = Attention(replace(TINY, width=8, base_width=8, query_heads_per_kv=2))
    query = torch.eye(8)
    query[1, 1] = 0.0
    key = torch.zeros(4, 8)
    key[0, 0] = key[0, 2] = key[2, 4] = key[2, 6] = 1.0
    weights(layer, query=query, key=key)
    x = torch.tensor([[[4.0, 0, 1, 0, 2, 0, 1, 0]]])
    # keys: (4 + 1, 0) and (2 + 1, 0); queries: 4, 1, 2, 1; all x 4
    assert looked_at(layer, x, qk_clip=20.0).tolist() == [80, 20, 24, 12]
    assert layer.query.weight.diag().tolist() == pytest.approx(
        [0.5, 0, 0.5, 0.5, *[(20 / 24) ** 0.5] * 4]
    )
    assert layer.key.weight[:2].tolist() == (key[:2] / 2).tolist()
    assert looked_at(layer, x).tolist() == pytest.approx([20, 5, 20, 10])
    assert looked_at(layer, x, qk_clip=20.5).tolist() == pytest.approx([20, 5, 20, 10])
    assert looked_at(layer, x).tolist() == pytest.approx([20, 5, 20, 10]), (
        "nothing is above the threshold any more"
    )


def test_latent_attention_shrinks_rotary_queries_twice_and_never_the_shared_key() -> None:
    # scores x 8 / (2 + 2)
    layer = LatentAttention(
        replace(TINY, attention="mla", positions="rotary", rotary_dim=2, kv_rank_ratio=0.5)
    )
    turned = rows([0, 0, 1, 0], [0, 0, 0, 1])
    given = {
        "latent": rows([1, 0, 0, 0], [0, 1, 0, 0]),
        "key": rows([3, 0], [0, 1], [1, 0], [0, 0]),
        "query": rows([1, 0, 0, 0], [0, 2, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0]),
        "query_rotary": torch.cat((turned, turned / 2)),
        "key_rotary": turned,
        "value": torch.ones(4, 2),
        "output": torch.eye(4),
    }
    weights(layer, **given)
    x = torch.tensor([[[1.0, 1, 2, 0]]])
    # the latent (1, 1) is of RMS 1 already. Head 0: q.k = (1, 2).(3, 1) = 5, rotated (2, 0).(2, 0)
    # = 4. Head 1: 0 and (1, 0).(2, 0) = 2
    assert looked_at(layer, x, qk_clip=4.5).tolist() == pytest.approx([18, 4], rel=1e-5)
    changed = {
        "query": rows([0.5, 0, 0, 0], [0, 1, 0, 0]),
        "key": rows([1.5, 0], [0, 0.5]),
        "query_rotary": turned / 4,
    }
    for name, before in given.items():
        now = layer.get_parameter(f"{name}.weight")
        shrunk = changed.get(name, before[:2])
        torch.testing.assert_close(now[:2], shrunk, rtol=1e-5, atol=0.0)
        assert torch.equal(now[2:], before[2:]), "head 1 is quiet"
    assert torch.equal(layer.key_rotary.weight, turned)
    assert looked_at(layer, x).tolist() == pytest.approx([4.5, 4], rel=1e-5)


# Whole models


KINDS = {
    "multi-head": MODEL,
    "grouped": replace(MODEL, query_heads_per_kv=2),
    "latent": replace(MODEL, attention="mla"),
}


def logits_of(net: Transformer, **options: float) -> Tensor:
    """The largest logits of one step's forward pass, by layer and head; clipped afterwards if the
    options ask for it."""
    watch = LogitMonitor(net.scores(), OptimizerOptions(**options))  # type: ignore[arg-type]
    watch.begin_step()
    net(torch.randint(0, 50, (3, 12), generator=torch.Generator().manual_seed(0)))
    found = torch.stack([block.attention.largest for block in net.blocks])
    watch.end_step()
    return found


@pytest.mark.parametrize("model", KINDS.values(), ids=KINDS)
def test_groups_above_the_threshold_fall_to_it_and_others_stay_bit_for_bit(
    model: ModelSpec,
) -> None:
    net = Transformer(model, 50, 12, "mup")
    initialise(net, MUON, seed=0)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    # rotated, of several windows and positions
    groups = logits_of(net).view(model.kv_heads, -1).amax(1)
    tau = float(groups.min() + groups.max()) / 2
    logits_of(net, qk_clip=tau)
    quiet = groups <= tau
    assert 0 < int(quiet.sum()) < len(groups)
    torch.testing.assert_close(
        logits_of(net).view(model.kv_heads, -1).amax(1), groups.clamp(max=tau), rtol=1e-5, atol=0.0
    )
    shrunk = {"query", "key"} | ({"query_rotary"} if model.attention == "mla" else set())
    for name, now in net.state_dict().items():
        projection = name.removeprefix("blocks.0.attention.").removesuffix(".weight")
        if projection in shrunk:
            rows_of = [state.view(model.kv_heads, -1) for state in (now, before[name])]
            assert [torch.equal(a, b) for a, b in zip(*rows_of, strict=True)] == quiet.tolist()
        else:
            assert torch.equal(now, before[name])


# In training


LOUD = replace(MUON, lr=0.2, qk_clip=1.0)


def test_the_largest_logit_is_that_of_all_micro_batches_of_the_step() -> None:
    horizon = replace(HORIZON, micro_batch_tokens=32)
    spec = trial(replace(MUON, measure_max_logit=True), horizon=horizon)
    run, other = TrainingRun(spec), TrainingRun(spec)
    seen = []
    for windows in other.micro_batches():
        assert other.logit_monitor
        other.logit_monitor.begin_step()
        other.model(windows[:, :-1])
        other.logit_monitor.end_step()
        seen.append(other.logit_monitor.metrics()["max_logit"])
        other.logit_monitor.begin_interval()
    assert len(seen) == 4
    assert seen.index(max(seen)) < 3
    step_runs([run])
    assert run.logit_monitor
    assert run.logit_monitor.metrics() == {"max_logit": max(seen)}
    run.point(run.metrics(run.judge()))
    assert run.logit_monitor.metrics() == {"max_logit": -math.inf}, (
        "it is forgotten with the point that told it"
    )


def test_held_out_losses_and_probes_are_not_looked_at() -> None:
    run = TrainingRun(trial(LOUD))
    assert run.logit_monitor
    step_runs([run])
    largest = float(run.logit_monitor.largest)
    with torch.no_grad():
        for layer in run.logit_monitor.layers:
            layer.get_parameter("query.weight").mul_(100)
    run.held_out_loss()
    run.step = HORIZON.steps - 1
    run.prepare_ending()
    assert run.ending
    assert float(run.logit_monitor.largest) == largest
    assert all(layer.largest is None for layer in run.logit_monitor.layers)
    quiet, evaluated = (
        list(train_one(trial(LOUD, horizon=replace(HORIZON, evaluate_every=every))))
        for every in (None, 1)
    )
    points = {point.step: point.metrics for point in evaluated}
    assert quiet[-1].metrics["loss"] == points[12]["loss"]
    assert max(points[step]["max_logit"] for step in (10, 11, 12)) == quiet[-1].metrics["max_logit"]


def test_looking_costs_its_flops_and_changes_nothing() -> None:
    plain, watched = trial(MUON), trial(replace(MUON, measure_max_logit=True))
    curves = [list(train_one(spec)) for spec in (plain, watched)]
    assert [p.metrics["train_loss"] for p in curves[0]] == [
        p.metrics["train_loss"] for p in curves[1]
    ]
    assert all(
        point.metrics["max_logit"] > 0 and "clipped_heads" not in point.metrics
        for point in curves[1]
    )
    heads, context = MODEL.heads, watched.data.context
    assert (
        step_flops(watched) - step_flops(plain)
        == HORIZON.batch_tokens * 2 * heads * MODEL.head_dim * context
    )


@pytest.mark.parametrize(
    "model", [KINDS["multi-head"], KINDS["latent"]], ids=["multi-head", "latent"]
)
def test_logits_explode_without_and_stay_bounded_with_it(model: ModelSpec) -> None:
    """Muon at a rate far too high: without clipping, logits grow a hundredfold and more, and the
    loss suffers."""
    horizon = replace(HORIZON, steps=60, batch_tokens=512, record_every=10)
    wild, clipped = (
        trial(
            replace(MUON, lr=1.0, weight_decay=0.0, measure_max_logit=True, qk_clip=tau),
            model,
            horizon,
        )
        for tau in (None, 20.0)
    )
    free, held = ([point.metrics for point in train_one(spec)] for spec in (wild, clipped))
    assert free[-1]["max_logit"] > 5000
    assert all(point["max_logit"] < 200 for point in held), (
        "no step lifts them far above 20, to which the one before brought them"
    )
    assert all(0 < point["clipped_heads"] <= model.heads for point in held)
    assert held[-1]["loss"] < free[-1]["loss"]


def test_nothing_that_is_no_number_is_clipped_and_the_trial_ends_as_diverged() -> None:
    layer = Attention(TINY)
    weights(layer, query=torch.eye(4), key=torch.eye(4) * 2)
    found = looked_at(layer, torch.tensor([[[1e30, 0.0, 9, 0]]]), qk_clip=1.0)
    assert found.tolist() == [math.inf, 4 * 2 * 81]
    assert layer.query.weight.diag().tolist() == pytest.approx([1, 1, 648**-0.5, 648**-0.5])
    points = list(train_one(trial(replace(ADAMW, lr=1e30, qk_clip=1.0))))
    assert math.isinf(points[-1].metrics["loss"])


def test_a_trial_that_is_looked_at_has_no_company() -> None:
    with pytest.raises(AssertionError, match="trains alone"):
        list(train([trial(LOUD), trial(LOUD, seed=1)]))


def test_what_would_have_no_effect_is_refused() -> None:
    with pytest.raises(
        ValidationError, match=r"qk_clip: has no effect under model\.qk_norm.*drop one"
    ):
        trial(LOUD, replace(MODEL, qk_norm=True))
    with pytest.raises(ValidationError, match="qk_clip_alpha: has no meaning without qk_clip"):
        trial(replace(MUON, qk_clip_alpha=0.3))
    trial(replace(MUON, measure_max_logit=True), replace(MODEL, qk_norm=True))
