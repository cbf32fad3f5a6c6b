"""Flags for Megatron-LM exist there and have the answer's values, or the export is refused with
every rule that they cannot express.
"""

import itertools
import math
from typing import Any

import pytest

from telescope.errors import NotExportable
from telescope.export import megatron
from telescope.optim.schedule import lr_factor, warmup_steps
from telescope.parametrisation import mup
from telescope.parametrisation.roles import Role
from telescope.trials.model import ModelSpec
from tests.telescope.export.answers import run_of

# Names as they stand in NVIDIA/Megatron-LM: megatron/training/arguments.py at
# c99881af1687b1501182393faea07f9152798488,
SPELLED_OUT = """
    --weight-decay --clip-grad --adam-beta1 --adam-beta2 --adam-eps --sgd-momentum --muon-momentum
    --muon-no-split-qkv --muon-nesterov --muon-scale-mode --muon-fp32-matmul-prec
    --muon-coefficient-type --muon-num-ns-steps --muon-tp-mode --muon-extra-scale-factor
    --muon-scalar-optimizer --lion-beta1 --lion-beta2 --optimizer --lr --warmup --min-lr
    --decoupled-lr --decoupled-min-lr --seq-length --untie-embeddings-and-output-weights --swiglu
    --squared-relu --position-embedding-type --group-query-attention --rotary-base
"""
# and fields of the configurations that it makes flags of: training_config.py at
# 8c090f2a7f1169d12deabe1908f9cf6955e6c612,
TRAINING = """
    micro_batch_size global_batch_size train_iters train_samples lr_decay_style lr_wsd_decay_style
    lr_decay_iters lr_decay_samples lr_wsd_decay_iters lr_wsd_decay_samples lr_warmup_fraction
    lr_warmup_iters lr_warmup_samples lr_warmup_init start_weight_decay end_weight_decay
    weight_decay_incr_style
"""
# and transformer_config.py at 002526d81b81f6ab534e93844f9a228709887494.
TRANSFORMER = """
    num_layers hidden_size num_attention_heads num_query_groups ffn_hidden_size kv_channels
    init_method_std embedding_init_method_std use_mup mup_width_mult mup_base_hidden_size
    mup_embedding_mult mup_output_mult mup_base_head_dim mup_attn_scale_power qk_clip
"""
KNOWN = {
    *SPELLED_OUT.split(),
    *("--" + name.replace("_", "-") for name in (TRAINING + TRANSFORMER).split()),
}
CHOICES = {
    "--optimizer": {"adam", "sgd", "muon", "dist_muon", "lion", "soap", "adaptive_muon"},
    "--muon-scale-mode": {"spectral", "unit_rms_norm", "shape_scaling"},
    "--muon-fp32-matmul-prec": {"low", "medium", "high"},
    "--muon-tp-mode": {"blockwise", "duplicated", "distributed"},
    "--muon-scalar-optimizer": {"adam", "lion"},
    "--lr-decay-style": {"constant", "linear", "cosine", "inverse-square-root", "WSD"},
    "--lr-wsd-decay-style": {"exponential", "linear", "cosine", "minus_sqrt"},
}

MUON: dict[str, Any] = {"adamw_lr_ratio": 1.0, "model": {"mlp": "relu2"}}
ADAMW: dict[str, Any] = {
    "optimizer": "adamw",
    "model": {"tied_embeddings": True, "attention_scale": "inverse"},
    "optimizer_options": {"weight_decay_rule": "compute_optimal"},
    "force_pairing": True,
}
EXPRESSIBLE: dict[str, dict[str, Any]] = {
    "muon": MUON,
    "muon, tied": MUON
    | {"model": {"mlp": "gelu", "tied_embeddings": True, "query_heads_per_kv": 2}},
    "muon, standard, cosine": MUON
    | {
        "parametrisation": "standard",
        "horizon": {"steps": 24, "batch_tokens": 128, "decay": "cosine", "final_lr_fraction": 0.1},
    },
    "adamw": ADAMW
    | {"horizon": {"steps": 24, "batch_tokens": 128, "decay": "wsd", "warmup_fraction": 0.0}},
    "adamw, standard": {
        "optimizer": "adamw",
        "parametrisation": "standard",
        "horizon": {"steps": 24, "batch_tokens": 128, "decay": "constant"},
    },
}


def parsed_flags(text: str) -> dict[str, str]:
    """The flags in a text, parsed as Megatron-LM would parse them."""
    lines = [line.split() for line in text.splitlines() if not line.startswith("#")]
    assert all(len(line) <= 2 for line in lines)
    return {line[0]: line[1] if len(line) == 2 else "" for line in lines}


@pytest.mark.parametrize("name", EXPRESSIBLE)
def test_every_flag_is_one_of_megatrons_and_has_a_comment(name: str) -> None:
    text = megatron.flags_text(run_of(**EXPRESSIBLE[name]))
    flags = parsed_flags(text)
    assert set(flags) <= KNOWN
    assert all(value in CHOICES.get(flag, {value}) for flag, value in flags.items())
    lines = text.splitlines()
    assert all(
        before.startswith("# ")
        for before, line in itertools.pairwise(lines)
        if line.startswith("--")
    )
    assert all(len(line) <= 140 for line in lines)


def trained_by_megatron(
    flags: dict[str, str], model: ModelSpec, role: Role
) -> tuple[float, float, float]:
    """Learning rate, weight decay and eps of a role, as the two functions that megatron.py names
    give them to parameters."""
    muon, decoupled = flags["--optimizer"] == "muon", flags.get("--decoupled-lr")
    lr, decay, eps = (
        float(flags["--lr"]),
        float(flags["--weight-decay"]),
        float(flags["--adam-eps"]),
    )
    if "--use-mup" in flags:
        width_multiplier = int(flags["--hidden-size"]) / int(flags["--mup-base-hidden-size"])
        vector_like = role in (Role.EMBEDDING, Role.VECTOR)
        managed_by_muon = muon and role is Role.HIDDEN
        if not (vector_like or managed_by_muon):
            lr /= width_multiplier
            eps /= 1.0 if muon else width_multiplier
    if decoupled and role in (Role.EMBEDDING, Role.READOUT):
        lr = float(decoupled)
    return lr, 0.0 if role is Role.VECTOR else decay, eps


@pytest.mark.parametrize("name", EXPRESSIBLE)
def test_megatron_derives_the_groups_values_from_the_flags(name: str) -> None:
    run = run_of(**EXPRESSIBLE[name])
    flags = parsed_flags(megatron.flags_text(run))
    for group in run.groups:
        lr, decay, eps = trained_by_megatron(flags, run.spec.model, group.role)
        assert (lr, decay) == pytest.approx((group.scaled_lr, group.weight_decay), rel=1e-9)
        assert group.eps is None or eps == pytest.approx(group.eps, rel=1e-9)
    if run.spec.optimizer.name == "muon":
        extra = float(flags["--muon-extra-scale-factor"])
        for fan_out, fan_in in ((64, 64), (256, 64), (64, 256)):
            mode = {"spectral": max(fan_out, fan_in), "unit_rms_norm": fan_out / fan_in}[
                flags["--muon-scale-mode"]
            ]
            assert extra * math.sqrt(mode) == pytest.approx(
                mup.update_scale(run.spec.optimizer, fan_out, fan_in)
            )
    if "--use-mup" in flags:
        head_dim, power = run.spec.model.head_dim, float(flags["--mup-attn-scale-power"])
        scale = math.sqrt(float(flags.get("--mup-base-head-dim", 1))) / head_dim**power
        assert scale == pytest.approx(mup.attention_factor(run.spec.model))
        assert float(flags["--mup-output-mult"]) == pytest.approx(run.model.head_multiplier)


def megatrons_lr(flags: dict[str, str], iteration: int) -> float:
    """The learning rate after so many iterations, as its scheduler (optimizer_param_scheduler.py,
    get_lr) computes it."""
    most, least = float(flags["--lr"]), float(flags["--min-lr"])
    warmup, end, style = (
        int(flags["--lr-warmup-iters"]),
        int(flags["--lr-decay-iters"]),
        flags["--lr-decay-style"],
    )
    if warmup > 0 and iteration <= warmup:
        return most * iteration / warmup
    ratio = (iteration - warmup) / (end - warmup)
    if style == "WSD":
        tail = int(flags["--lr-wsd-decay-iters"])
        ratio = max(0.0, (iteration - (end - tail)) / tail)
    left = {
        "constant": 1.0,
        "linear": 1 - ratio,
        "WSD": 1 - ratio,
        "cosine": 0.5 * (math.cos(math.pi * ratio) + 1),
    }[style]
    return most if style == "constant" else least + left * (most - least)


@pytest.mark.parametrize("name", EXPRESSIBLE)
def test_learning_rates_lag_by_one_step_in_warm_up_and_agree_after_it(name: str) -> None:
    run = run_of(**EXPRESSIBLE[name])
    text = megatron.flags_text(run)
    flags, horizon = parsed_flags(text), run.spec.horizon
    for step in range(horizon.steps):
        late = step < warmup_steps(horizon)
        factor = (
            (lr_factor(horizon, step - 1) if step else 0.0) if late else lr_factor(horizon, step)
        )
        assert megatrons_lr(flags, step) == pytest.approx(float(flags["--lr"]) * factor)
    assert ("Warm-up lags by one step" in text) == (warmup_steps(horizon) > 0)


REFUSED: dict[str, tuple[dict[str, Any], set[str]]] = {
    "the defaults under Muon": ({}, {"vector.lr", "model.mlp"}),
    "an update scale whose lr falls": (
        MUON | {"optimizer_options": {"update_scale": "rms_match"}},
        {"vector.lr", "embedding.weight_decay", "readout.weight_decay"},
    ),
    "the defaults under AdamW": (
        {"optimizer": "adamw"},
        {"embedding.weight_decay", "readout.weight_decay", "readout.eps"},
    ),
    "no update scale": (
        MUON | {"optimizer_options": {"update_scale": "none"}},
        {"optimizer_options.update_scale"},
    ),
    "float32": (
        MUON | {"optimizer_options": {"newton_schulz_dtype": "float32"}},
        {"optimizer_options.newton_schulz_dtype"},
    ),
    "another depth": (
        MUON | {"model": {"mlp": "relu2", "target_depth": 2}},
        {"model.target_depth", "vector.eps"},
    ),
    "a rescaled head": (
        ADAMW | {"model": {"head_form": "rescaled"}},
        {"model.head_form", "readout.lr", "readout.eps"},
    ),
    "the paper's table": (
        {"optimizer": "adamw", "parametrisation": "mup-paper", "model": {"tied_embeddings": True}},
        {"hidden.eps"},
    ),
    "attention as it is not without mup": (
        {
            "optimizer": "adamw",
            "parametrisation": "standard",
            "model": {"attention_scale": "inverse"},
        },
        {"model.attention_scale"},
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_rules_that_flags_cannot_express_are_refused_with_remedies(name: str) -> None:
    changes, fields = REFUSED[name]
    with pytest.raises(NotExportable) as refused:
        megatron.flags_text(run_of(**changes))
    assert {problem.field for problem in refused.value.problems} == fields
    assert all(
        " use " in problem.message or "tune " in problem.message
        for problem in refused.value.problems
    )
    assert (refused.value.status, refused.value.exit_status) == (409, 2)


def test_initial_values_are_stated_since_flags_cannot_set_them() -> None:
    run = run_of(**MUON)
    text = " ".join(megatron.flags_text(run).replace("# ", "").split())
    for group in run.groups:
        assert group.role is Role.VECTOR or f"{group.init_std:.4g}" in text
    assert "head at zero" in text


def test_names_of_jobs_cannot_become_flags() -> None:
    text = megatron.flags_text(run_of(**MUON, name="a\n--lr 7"))
    assert parsed_flags(text)["--lr"] != "7"
