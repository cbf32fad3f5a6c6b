"""Which flags make Megatron-LM train as an answer says, and when do none?

Megatron-LM has one learning rate (`--lr`), a second one for embedding and head (`--decoupled-lr`), one weight decay and one eps;
`--use-mup` divides what Adam does to matrices by the width multiplier, and multiplies what the head gives. So the flags are chosen first,
then what Megatron-LM makes of them (`realised`) is held against each parameter group of the answer. Every difference is a rule that it
cannot express: the export is refused, and names them all.

Flags and rules were read in github.com/NVIDIA/Megatron-LM:
- megatron/training/arguments.py at c99881af1687b1501182393faea07f9152798488: optimizer, Muon, `--decoupled-lr`, `--seq-length`;
- megatron/training/config/training_config.py at 8c090f2a7f1169d12deabe1908f9cf6955e6c612: batch, steps, schedule;
- megatron/core/transformer/transformer_config.py at 002526d81b81f6ab534e93844f9a228709887494: size, initial values, `--use-mup`;
- megatron/core/optimizer/__init__.py at 0044db1f20bf9311d6cfc77e76fa05163e97ce44: `get_standard_config_overrides` (no decay of what has
  one dimension) and `get_mup_config_overrides` (which rates and eps muP divides);
- megatron/core/optimizer/emerging_optimizers.py at 000a71707977cbffaf4d14d12f0f8d33049e4da3: Muon takes matrices that are neither embedding
  nor head, splits a fused QKV, but not a fused gate and up (issue 7077, pull 6688); its scale modes are Emerging-Optimizers' (pull 3715);
- megatron/core/optimizer_param_scheduler.py at 00caa53af30912914981c86f39db123961678bbd: warm-up and decay.

Initial values are no flags' matter: Megatron-LM draws all hidden matrices from one normal distribution, and the head too. The text says
what they have to be, and `--to torch` has them as code.

Parts: `text` · `Flag`, `flags` · `Settings`, `settings`, `realised` · `refused`, with `REMEDIES`.
"""

import math
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from telescope.errors import NotExportable, Problem
from telescope.export.final_run import FinalRun, chosen_otherwise, unknown_options
from telescope.export.schedule import decay_steps
from telescope.optim.groups import Group
from telescope.optim.schedule import warmup_steps
from telescope.parametrisation import mup
from telescope.parametrisation.roles import Role
from telescope.trials import mixtures
from telescope.trials.model import ModelSpec, ModuleSpec
from telescope.trials.types import UpdateScale

WIDTH = 120  # columns
SCALE_MODES: Mapping[UpdateScale, tuple[str, float]] = {
    "spectral_ratio": ("unit_rms_norm", 1.0),
    "spectral_clamped": ("shape_scaling", 1.0),
    "rms_match": ("spectral", 0.2),
}
"""Our update scales as --muon-scale-mode and --muon-extra-scale-factor. What Megatron-LM calls spectral is sqrt(max(fan_out, fan_in))."""

KNOWN_MODEL = (
    *("family", "depth", "head_dim", "query_heads_per_kv", "qk_norm", "mlp", "mlp_ratio", "tied_embeddings", "rope_base"),
    *("attention_scale", "head_form", "depth_exponent", "width", "base_width", "base_depth"),
)
TORCH = "or use --to torch"
REMEDIES: Mapping[tuple[Role, str], str] = {
    (
        Role.VECTOR,
        "lr",
    ): f"norm gains train at --lr, as Muon's matrices do; tune with adamw_lr_ratio: 1 and a constant muon_lr_rule, {TORCH}",
    (Role.HIDDEN, "weight_decay"): f"there is one --weight-decay; tune with optimizer_options.weight_decay_rule: constant, {TORCH}",
    (Role.EMBEDDING, "weight_decay"): f"there is one --weight-decay; tune with optimizer_options.weight_decay_rule: constant, {TORCH}",
    (Role.READOUT, "weight_decay"): f"there is one --weight-decay; tune with optimizer_options.weight_decay_rule: constant, {TORCH}",
    (Role.READOUT, "lr"): f"embedding and head share --decoupled-lr; tune with model.head_form: multiplier, {TORCH}",
    (Role.READOUT, "eps"): f"--use-mup divides the head's eps by the width multiplier; tune with model.tied_embeddings: true, {TORCH}",
    (Role.HIDDEN, "eps"): f"eps of matrices follows --use-mup; tune with parametrisation: mup, {TORCH}",
}


@dataclass(frozen=True)
class Flag:
    """One flag, its value (None: it has none) and what it is for."""

    name: str
    value: str | int | float | None
    said: str


@dataclass(frozen=True)
class Settings:
    """What the flags say of optimization."""

    muon: bool
    lr: float
    decoupled_lr: float | None  # of embedding and head
    weight_decay: float
    eps: float
    width_multiplier: float | None  # of --use-mup; None without
    embedding_multiplier: float = 1.0
    output_multiplier: float = 1.0


@dataclass(frozen=True)
class Realised:
    """What Megatron-LM does to the parameters of one role."""

    lr: float
    weight_decay: float
    eps: float | None


def own_model(run: FinalRun) -> ModelSpec:
    """The model, which is ours: of a user's nobody knows how Megatron-LM would say it."""
    model = run.spec.model
    if isinstance(model, ModuleSpec):
        remedy = "use --to torch or json"
        raise NotExportable(f"Megatron-LM builds models of its own, and flags cannot say what {model.factory} is; {remedy}")
    return model


def text(run: FinalRun) -> str:
    """The flags, a comment before each; NotExportable names each rule that they cannot express."""
    problems = tuple(refused(run))
    if problems:
        raise NotExportable.because("Megatron-LM's flags cannot express this answer", problems)
    lines = list(header(run))
    for flag in flags(run):
        lines += [f"# {flag.said}", flag.name if flag.value is None else f"{flag.name} {flag.value}"]
    return "\n".join(lines) + "\n"


def header(run: FinalRun) -> Iterator[str]:
    """What the flags are, where they come from, and what they do not say."""
    horizon, data = run.spec.horizon, run.spec.data
    said = [
        f"Megatron-LM flags for {run.spec.optimizer.name} at width {own_model(run).width}, as found by telescope in job {run.source.job} "
        f"({run.source.name}, {run.source.date:%Y-%m-%d}) on {mixtures.described(data.corpus)} {data.content}: {run.ladder.verdict}, "
        f"{run.ladder.reason}; "
        f"{len(run.trials)} trials of seeds {', '.join(map(str, run.seeds))}.",
        "Give them with: pretrain_gpt.py $(grep -v '^#' THIS_FILE) ...; norms, positions, attention and feed-forward are yours to set.",
        f"WARNING: {run.warning}" if run.warning else "",
        f"Initial values are not expressed: {initial_values(run)}. Load weights that are drawn so; --to torch has the code.",
        f"Warm-up lags by one step: the first of {warmup_steps(horizon)} has a learning rate of 0. After it all are the same."
        if warmup_steps(horizon)
        else "",
    ]
    for one in filter(None, said):
        yield from textwrap.wrap(" ".join(one.split()), WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def initial_values(run: FinalRun) -> str:
    """Standard deviations by role and matrix."""
    stds: dict[str, float] = {}
    for group in run.groups:
        for name in group.names:
            kind = ".".join(part for part in name.removesuffix(".weight").split(".") if not part.isdigit())
            stds[kind] = group.init_std
    drawn = [f"{kind} {std:.4g}" for kind, std in stds.items() if std]
    zero = [kind for kind, std in stds.items() if not std and "norm" not in kind]
    return f"normal with standard deviation {', '.join(drawn)}" + (f"; {', '.join(zero)} at zero" if zero else "")


# The flags


def flags(run: FinalRun) -> Iterator[Flag]:
    """All of them."""
    yield from size_flags(run)
    yield from optimizer_flags(run, settings(run))
    yield from schedule_flags(run, settings(run))


def size_flags(run: FinalRun) -> Iterator[Flag]:
    """Of the model and its batches, as far as hyperparameters depend on them."""
    model, data, horizon = own_model(run), run.spec.data, run.spec.horizon
    yield Flag("--num-layers", model.depth, "blocks")
    yield Flag("--hidden-size", model.width, "the target width")
    yield Flag("--ffn-hidden-size", model.hidden, "units of the feed-forward block")
    yield Flag("--num-attention-heads", model.heads, f"of size {model.head_dim}")
    if not model.tied_embeddings:
        yield Flag("--untie-embeddings-and-output-weights", None, "the head is a matrix of its own")
    yield Flag("--seq-length", data.context, "context, in tokens")
    yield Flag("--global-batch-size", horizon.batch_tokens // data.context, f"sequences, {horizon.batch_tokens} tokens")
    yield Flag("--train-iters", horizon.steps, f"steps, {horizon.tokens} tokens")


def optimizer_flags(run: FinalRun, chosen: Settings) -> Iterator[Flag]:
    """Of the optimizers."""
    optimizer, model = run.spec.optimizer, own_model(run)
    if not chosen.muon:
        yield Flag("--optimizer", "adam", "with decoupled weight decay")
    else:
        yield Flag("--optimizer", "muon", "Adam takes embedding, head and norms")
        mode, extra = SCALE_MODES[mup.chosen_update_scale(optimizer)]
        yield Flag("--muon-momentum", optimizer.momentum, "as an exponential average")
        if optimizer.nesterov:
            yield Flag("--muon-nesterov", None, "older releases: --muon-use-nesterov")
        yield Flag("--muon-scale-mode", mode, f"our {mup.chosen_update_scale(optimizer)}")
        yield Flag("--muon-extra-scale-factor", extra, "on the update, beside the mode's")
        yield Flag("--muon-coefficient-type", "simple", "Newton-Schulz with 3.4445, -4.7750, 2.0315")
        yield Flag("--muon-num-ns-steps", optimizer.newton_schulz_steps, "Newton-Schulz steps")
        yield Flag("--muon-fp32-matmul-prec", "medium", "Newton-Schulz in bfloat16")
        yield Flag("--muon-tp-mode", "duplicated", "whole matrices are orthogonalised, not the parts that tensor parallelism makes of them")
        yield Flag("--muon-scalar-optimizer", "adam", "for all but matrices")
    yield Flag("--adam-beta1", optimizer.beta1, "Adam's")
    yield Flag("--adam-beta2", optimizer.beta2, "Adam's")
    yield Flag("--adam-eps", chosen.eps, "Adam's; of matrices divided by the width multiplier" if chosen.width_multiplier else "Adam's")
    yield Flag("--clip-grad", 0.0, "gradients were not clipped")
    yield Flag("--weight-decay", chosen.weight_decay, "each step multiplies a matrix by 1 - lr x this")
    if chosen.width_multiplier:
        yield Flag("--use-mup", None, f"width multiplier {chosen.width_multiplier:g}")
        yield Flag("--mup-base-hidden-size", model.base_width, "the width that factors are relative to")
        yield Flag("--mup-embedding-mult", chosen.embedding_multiplier, "on what embeddings give")
        yield Flag("--mup-output-mult", chosen.output_multiplier, "on logits")
        factor = f"attention scores times {mup.attention_factor(model):.6g}"
        if model.attention_scale == "inverse_sqrt":
            yield Flag("--mup-attn-scale-power", 0.5, f"{factor}: 1 / sqrt(head size)")
        else:
            yield Flag("--mup-attn-scale-power", 1.0, f"{factor}: sqrt(base head dimension) / head size")
            yield Flag("--mup-base-head-dim", 64, "where the scale agrees with 1 / sqrt(head size)")


def schedule_flags(run: FinalRun, chosen: Settings) -> Iterator[Flag]:
    """Of learning rates."""
    horizon = run.spec.horizon
    final, warmup = horizon.final_lr_fraction, warmup_steps(horizon)
    style = {"wsd": "WSD"}.get(horizon.decay, horizon.decay)
    yield Flag("--lr", chosen.lr, "peak learning rate")
    yield Flag("--min-lr", chosen.lr * final, "at the end")
    if chosen.decoupled_lr is not None:
        yield Flag("--decoupled-lr", chosen.decoupled_lr, "peak learning rate of embedding and head")
        yield Flag("--decoupled-min-lr", chosen.decoupled_lr * final, "at the end")
    yield Flag("--lr-warmup-iters", warmup, "steps of warm-up")
    yield Flag("--lr-decay-style", style, "after warm-up")
    yield Flag("--lr-decay-iters", horizon.steps, "steps until the end of the decay, warm-up included")
    if horizon.decay == "wsd":
        yield Flag("--lr-wsd-decay-style", "linear", "a line")
        yield Flag("--lr-wsd-decay-iters", decay_steps(horizon), "its steps")


# What they amount to


def settings(run: FinalRun) -> Settings:
    """The choice that comes nearest to the answer's groups."""
    first = {group.role: group for group in reversed(run.groups)}
    hidden, embedding, vector = first[Role.HIDDEN], first[Role.EMBEDDING], first[Role.VECTOR]
    muon = run.spec.optimizer.name == "muon"
    multipliers = run.model.embedding_multiplier, run.model.head_multiplier
    with_mup = multipliers != (1.0, 1.0) or not (muon or math.isclose(hidden.scaled_lr, vector.scaled_lr))
    lr = vector.scaled_lr if with_mup and not muon else hidden.scaled_lr
    return Settings(
        muon=muon,
        lr=lr,
        decoupled_lr=embedding.scaled_lr if with_mup or not math.isclose(embedding.scaled_lr, lr) else None,
        weight_decay=hidden.weight_decay,
        eps=embedding.eps or 0.0,
        width_multiplier=own_model(run).multiplier if with_mup else None,
        embedding_multiplier=multipliers[0],
        output_multiplier=multipliers[1],
    )


def realised(chosen: Settings, role: Role) -> Realised:
    """What Megatron-LM makes of the flags for the parameters of a role."""
    muon_takes_it = chosen.muon and role is Role.HIDDEN
    divided = chosen.width_multiplier or 1.0
    adam_matrix = role in (Role.HIDDEN, Role.READOUT) and not muon_takes_it
    lr = chosen.lr / divided if adam_matrix else chosen.lr
    if role in (Role.EMBEDDING, Role.READOUT) and chosen.decoupled_lr is not None:
        lr = chosen.decoupled_lr
    eps = chosen.eps / divided if adam_matrix and not chosen.muon else chosen.eps  # beside Muon, --use-mup leaves eps alone
    return Realised(lr, 0.0 if role is Role.VECTOR else chosen.weight_decay, None if muon_takes_it else eps)


def refused(run: FinalRun) -> Iterator[Problem]:
    """Every rule that the flags cannot express, with what to do instead."""
    yield from unknown_options(run)
    yield from of_the_model(run)
    if run.spec.optimizer.name == "muon":
        yield from of_muon(run)
    found: dict[str, Problem] = {}
    for group in run.groups:
        for problem in differences(group, realised(settings(run), group.role)):
            found.setdefault(problem.field, problem)
    yield from found.values()


def differences(group: Group, made: Realised) -> Iterator[Problem]:
    """What Megatron-LM would do otherwise to a group."""
    for name, ours, theirs in (
        ("lr", group.scaled_lr, made.lr),
        ("weight_decay", group.weight_decay, made.weight_decay),
        ("eps", group.eps or 0.0, made.eps or 0.0),  # Muon has none
    ):
        if not math.isclose(ours, theirs, rel_tol=1e-9):
            remedy = REMEDIES.get((group.role, name), "use --to torch")
            yield Problem(f"{group.role}.{name}", f"is {ours:.6g}, and would be {theirs:.6g}: {remedy}", ours)


def of_the_model(run: FinalRun) -> Iterator[Problem]:
    """Rules of the forward pass."""
    model, chosen = own_model(run), settings(run)
    for name in chosen_otherwise(model, KNOWN_MODEL):
        yield Problem(f"model.{name}", "is an option that this form does not know; use --to torch", getattr(model, name))
    if mup.branch_multiplier(model) != 1.0:
        said = "residual branches have no multiplier; tune at the target's depth (leave model.target_depth out), or use --to torch"
        yield Problem("model.target_depth", said, model.depth)
    if chosen.width_multiplier and chosen.output_multiplier == 1.0:
        said = f"a multiplier of 1 is taken for none, and becomes 1 / width multiplier; tune with model.head_form: multiplier, {TORCH}"
        yield Problem("model.head_form", said, model.head_form)
    if not chosen.width_multiplier and not math.isclose(mup.attention_factor(model), model.head_dim**-0.5):
        said = (
            "without --use-mup attention scores are divided by sqrt(head_dim); tune with attention_scale: inverse_sqrt, or use --to torch"
        )
        yield Problem("model.attention_scale", said, model.attention_scale)


def of_muon(run: FinalRun) -> Iterator[Problem]:
    """Rules of Muon's update."""
    optimizer, model = run.spec.optimizer, own_model(run)
    if (scale := mup.chosen_update_scale(optimizer)) not in SCALE_MODES:
        yield Problem("optimizer_options.update_scale", f"there is no such scale mode; tune with {', '.join(SCALE_MODES)}, {TORCH}", scale)
    if optimizer.newton_schulz_dtype != "bfloat16":
        said = "float32 products are not offered (low, medium and high are less); tune with bfloat16"
        yield Problem("optimizer_options.newton_schulz_dtype", said, optimizer.newton_schulz_dtype)
    if model.gated:
        said = f"gate and up are orthogonalised there as one matrix (issue 7077); tune with model.mlp: relu2 or gelu, {TORCH}"
        yield Problem("model.mlp", said, model.mlp)
