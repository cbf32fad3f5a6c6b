"""The settings of Megatron-LM that come closest to an answer, and the rules of the answer that
Megatron-LM cannot express.

An answer states the hyperparameters for the final run, and the rules that scale them for each
parameter. Megatron-LM's settings are the values of its flags. From these settings, Megatron-LM
derives the learning rate, weight decay and eps of the parameters in each role (`realised`). The
role of a parameter is embedding, hidden, readout or vector. `megatron_refusals` compares the
derived values with the answer.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from telescope.errors import Problem
from telescope.export.families import exported_by
from telescope.export.final_run import FinalRun, non_default_fields, unknown_options
from telescope.optim.groups import ParameterGroup
from telescope.parametrisation import mup
from telescope.parametrisation.roles import Role
from telescope.trials.model import ModelSpec
from telescope.trials.types import UpdateScale

SCALE_MODES: Mapping[UpdateScale, tuple[str, float]] = {
    "spectral_ratio": ("unit_rms_norm", 1.0),
    "spectral_clamped": ("shape_scaling", 1.0),
    "rms_match": ("spectral", 0.2),
}
"""For each update scale (telescope's factor on a Muon update) that Megatron-LM can express, the
values of the flags --muon-scale-mode and --muon-extra-scale-factor. Megatron-LM's mode `spectral`
multiplies an update by sqrt(max(fan_out, fan_in))."""

KNOWN_MODEL_FIELDS = (
    "family",
    "depth",
    "head_dim",
    "query_heads_per_kv",
    "qk_norm",
    "mlp",
    "mlp_ratio",
    "tied_embeddings",
    "rope_base",
    "attention_scale",
    "head_form",
    "depth_exponent",
    "width",
    "base_width",
    "base_depth",
)
"""The fields of a model specification that this format handles: the exported flags express a field,
the user adds other flags for the field, or the field is checked here."""

TORCH = "or use --to torch"
ONE_WEIGHT_DECAY = (
    "all matrices share one --weight-decay; "
    f"tune with the optimizer_options.weight_decay_rule `constant`, {TORCH}"
)
REMEDIES: Mapping[tuple[Role, str], str] = {
    (Role.VECTOR, "lr"): (
        "norm gains and Muon's matrices share --lr; tune with an adamw_lr_ratio of 1, the "
        f"parametrisation `mup`, and the default update_scale and muon_lr_rule, {TORCH}"
    ),
    (Role.HIDDEN, "weight_decay"): ONE_WEIGHT_DECAY,
    (Role.EMBEDDING, "weight_decay"): ONE_WEIGHT_DECAY,
    (Role.READOUT, "weight_decay"): ONE_WEIGHT_DECAY,
    (Role.READOUT, "lr"): (
        "embedding and readout share --decoupled-lr; "
        f"tune with the model.head_form `multiplier`, {TORCH}"
    ),
    (Role.READOUT, "eps"): (
        "--use-mup divides the readout's eps by the width multiplier; "
        f"tune with tied embeddings (model.tied_embeddings), {TORCH}"
    ),
    (Role.HIDDEN, "eps"): (
        "--use-mup decides whether eps is divided by the width multiplier; "
        f"tune with the parametrisation `mup`, {TORCH}"
    ),
}
"""The reason why a value differs in Megatron-LM, and the remedy, by role and name of the value."""


@dataclass(frozen=True)
class MegatronSettings:
    """The values of the flags for learning rates, weight decay, eps and muP's multipliers."""

    muon: bool
    lr: float
    decoupled_lr: float | None  # for embedding and readout; None without --decoupled-lr
    weight_decay: float
    eps: float
    width_multiplier: float | None  # None without --use-mup
    embedding_multiplier: float = 1.0
    output_multiplier: float = 1.0


@dataclass(frozen=True)
class Realised:
    """The values with which Megatron-LM trains the parameters of one role."""

    lr: float
    weight_decay: float
    eps: float | None  # None for Muon


def model_of_flags(run: FinalRun) -> ModelSpec:
    """The model that the flags describe. Raises NotExportable if flags cannot describe the run's
    model."""
    return exported_by(run).megatron(run.spec.model)


def settings(run: FinalRun) -> MegatronSettings:
    """The settings that come closest to the answer's parameter groups."""
    by_role = {group.role: group for group in reversed(run.groups)}  # the first group of each role
    hidden, embedding, vector = (
        by_role[role] for role in (Role.HIDDEN, Role.EMBEDDING, Role.VECTOR)
    )
    muon = run.spec.optimizer.name == "muon"
    multipliers = run.model.embedding_multiplier, run.model.head_multiplier
    with_mup = multipliers != (1.0, 1.0) or not (
        muon or math.isclose(hidden.scaled_lr, vector.scaled_lr)
    )
    lr = vector.scaled_lr if with_mup and not muon else hidden.scaled_lr
    decoupled = with_mup or not math.isclose(embedding.scaled_lr, lr)
    return MegatronSettings(
        muon=muon,
        lr=lr,
        decoupled_lr=embedding.scaled_lr if decoupled else None,
        weight_decay=hidden.weight_decay,
        eps=embedding.eps or 0.0,
        width_multiplier=model_of_flags(run).multiplier if with_mup else None,
        embedding_multiplier=multipliers[0],
        output_multiplier=multipliers[1],
    )


def realised(chosen: MegatronSettings, role: Role) -> Realised:
    """The values with which Megatron-LM trains the parameters of a role under these settings."""
    trained_by_muon = chosen.muon and role is Role.HIDDEN
    divisor = chosen.width_multiplier or 1.0
    adam_matrix = role in (Role.HIDDEN, Role.READOUT) and not trained_by_muon
    lr = chosen.lr / divisor if adam_matrix else chosen.lr
    if role in (Role.EMBEDDING, Role.READOUT) and chosen.decoupled_lr is not None:
        lr = chosen.decoupled_lr
    # in a Muon run, --use-mup does not divide eps
    eps = chosen.eps / divisor if adam_matrix and not chosen.muon else chosen.eps
    weight_decay = 0.0 if role is Role.VECTOR else chosen.weight_decay
    return Realised(lr, weight_decay, None if trained_by_muon else eps)


def megatron_refusals(run: FinalRun) -> Iterator[Problem]:
    """A problem, with a remedy, for every rule of the answer that the flags cannot express."""
    yield from unknown_options(run)
    yield from model_refusals(run)
    if run.spec.optimizer.name == "muon":
        yield from muon_refusals(run)
    differences: dict[str, Problem] = {}
    for group in run.groups:
        for problem in group_differences(group, realised(settings(run), group.role)):
            differences.setdefault(problem.field, problem)
    yield from differences.values()


def group_differences(group: ParameterGroup, megatron: Realised) -> Iterator[Problem]:
    """A problem for each value of a parameter group that Megatron-LM would set to another value."""
    for name, ours, theirs in (
        ("lr", group.scaled_lr, megatron.lr),
        ("weight_decay", group.weight_decay, megatron.weight_decay),
        ("eps", group.eps or 0.0, megatron.eps or 0.0),  # Muon has no eps
    ):
        if not math.isclose(ours, theirs, rel_tol=1e-9):
            remedy = REMEDIES.get((group.role, name), "use --to torch")
            message = f"is {ours:.6g}, but Megatron-LM would use {theirs:.6g}; {remedy}"
            yield Problem(f"{group.role}.{name}", message, ours)


def model_refusals(run: FinalRun) -> Iterator[Problem]:
    """A problem for each rule of the forward pass that the flags cannot express."""
    model, chosen = model_of_flags(run), settings(run)
    for name in non_default_fields(model, except_for=KNOWN_MODEL_FIELDS):
        message = "is an option that this format does not know; use --to torch"
        yield Problem(f"model.{name}", message, getattr(model, name))
    if mup.branch_multiplier(model) != 1.0:
        message = (
            "Megatron-LM does not scale residual branches; "
            "tune at the target's depth (leave model.target_depth out), or use --to torch"
        )
        yield Problem("model.target_depth", message, model.depth)
    if chosen.width_multiplier and chosen.output_multiplier == 1.0:
        message = (
            "Megatron-LM replaces --mup-output-mult 1 by 1 / width multiplier; "
            f"tune with the model.head_form `multiplier`, {TORCH}"
        )
        yield Problem("model.head_form", message, model.head_form)
    if not chosen.width_multiplier and not math.isclose(
        mup.attention_factor(model), model.head_dim**-0.5
    ):
        message = (
            "without --use-mup, Megatron-LM divides attention scores by sqrt(head_dim); "
            "tune with the attention_scale `inverse_sqrt`, or use --to torch"
        )
        yield Problem("model.attention_scale", message, model.attention_scale)


def muon_refusals(run: FinalRun) -> Iterator[Problem]:
    """A problem for each rule of Muon's update that the flags cannot express."""
    optimizer, model = run.spec.optimizer, model_of_flags(run)
    if (scale := mup.chosen_update_scale(optimizer)) not in SCALE_MODES:
        message = (
            f"Megatron-LM has no such update scale; tune with {' or '.join(SCALE_MODES)}, {TORCH}"
        )
        yield Problem("optimizer_options.update_scale", message, scale)
    if optimizer.newton_schulz_dtype != "bfloat16":
        message = "--muon-fp32-matmul-prec offers only precisions below float32; tune with bfloat16"
        yield Problem(
            "optimizer_options.newton_schulz_dtype", message, optimizer.newton_schulz_dtype
        )
    if model.gated:
        message = (
            "Megatron-LM orthogonalises the MLP's gate and up as one matrix (issue 7077); "
            f"tune with the model.mlp `relu2` or `gelu`, {TORCH}"
        )
        yield Problem("model.mlp", message, model.mlp)
