"""The scaling of each hyperparameter with width and depth.

A parametrisation is a set of scaling rules. In the tables of this module, a hyperparameter has an
exponent e. The value of the hyperparameter at the base width is multiplied by m^e, where m = width
/ base width. The exponent depends on the parametrisation, the role of the parameter, the optimizer
and its options. `factors` combines the factors for width and depth. The factors for depth are those
of CompleteP (arXiv 2505.01618) under every parametrisation.

At the base width and base depth, the factors are exactly one, because 1.0 ** e == 1.0. There is one
exception: under `lr_convention: absolute`, the factor on the learning rate (lr) is a power of the
width itself.

Muon multiplies each orthogonalised update by a factor, the update scale. The *spectral condition*
asks that the spectral norm of an update, divided by sqrt(fan_out / fan_in), does not change with
width. There are three parametrisations:

- `mup`: AdamW follows CompleteP's summary table. The output head has a multiplier in the forward
  pass (form A), which also works with tied embeddings. Under `head_form: rescaled`, the head has no
  such multiplier, and its lr and initial values change instead (form B). Form B suits losses that
  are fused with the head. By default, Muon's lr falls as m^-1/2 under the update scale rms_match,
  and is constant under the other update scales, as the spectral condition requires. The default
  weight-decay rule suits a search in which all widths train on the same number of tokens.
- `mup-paper`: the rules of arXiv 2505.02222, figure 5 (Tensor Programs V, table 9), as printed.
  AdamW and Muon use the same table. By default, Muon's update scale is rms_match, and weight decay
  does not change with width. The eps of AdamW does not change with width. The initial values of an
  untied head differ from the paper: they are zero. By default, Muon's updates fall as m^-1/2
  relative to the spectral condition (arXiv 2512.05620, appendix G).
- `standard`: the control, without muP. By default, only the initial values of hidden matrices
  change with width, as 1 / sqrt(fan_in).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from telescope.parametrisation.roles import Role
from telescope.trials.model import AnyModel, ModelSpec
from telescope.trials.optimizer import OptimizerSpec
from telescope.trials.types import (
    MuonLrRule,
    OptimizerName,
    Parametrisation,
    UpdateScale,
    WeightDecayRule,
)


@dataclass(frozen=True)
class Rule:
    """Exponents of m for the parameters of one role, trained by one optimizer."""

    init_std: float = 0.0
    lr: float = 0.0  # under AdamW; the exponent under Muon is in MUON_LR
    eps: float = 0.0
    multiplier: float = 0.0  # exponent of `forward_multiplier`


EMBEDDING, HIDDEN, READOUT, VECTOR = Role.EMBEDDING, Role.HIDDEN, Role.READOUT, Role.VECTOR

TABLE: Mapping[tuple[Parametrisation, Role, OptimizerName], Rule] = {
    ("mup", EMBEDDING, "adamw"): Rule(),
    ("mup", HIDDEN, "adamw"): Rule(init_std=-0.5, lr=-1.0, eps=-1.0),
    ("mup", HIDDEN, "muon"): Rule(init_std=-0.5),
    ("mup", READOUT, "adamw"): Rule(multiplier=-1.0),
    ("mup", VECTOR, "adamw"): Rule(),
    ("mup-paper", EMBEDDING, "adamw"): Rule(init_std=-0.5, lr=-0.5, multiplier=0.5),
    ("mup-paper", HIDDEN, "adamw"): Rule(init_std=-0.5, lr=-1.0),
    ("mup-paper", HIDDEN, "muon"): Rule(init_std=-0.5),
    ("mup-paper", READOUT, "adamw"): Rule(lr=-0.5, multiplier=-0.5),
    ("mup-paper", VECTOR, "adamw"): Rule(),  # norm gains are not in the paper's table
    ("standard", EMBEDDING, "adamw"): Rule(),
    ("standard", HIDDEN, "adamw"): Rule(init_std=-0.5),
    ("standard", HIDDEN, "muon"): Rule(init_std=-0.5),
    ("standard", READOUT, "adamw"): Rule(),
    ("standard", VECTOR, "adamw"): Rule(),
}

RESCALED_HEAD = Rule(init_std=-1.0, lr=-1.0)
"""Form B of the output head under `mup`: the head's lr and initial values fall as 1/m, and there is
no forward multiplier. In telescope's own Transformer, the exponent of the initial values has no
effect: they are zero, or torch's defaults."""

UNDECAYED = frozenset({VECTOR})
"""Roles without weight decay."""


# Muon's update scale and lr rule

UPDATE_SCALES: Mapping[UpdateScale, Callable[[int, int], float]] = {
    "spectral_ratio": lambda fan_out, fan_in: math.sqrt(fan_out / fan_in),
    "spectral_clamped": lambda fan_out, fan_in: math.sqrt(max(1.0, fan_out / fan_in)),
    "rms_match": lambda fan_out, fan_in: 0.2 * math.sqrt(max(fan_out, fan_in)),
    "none": lambda fan_out, fan_in: 1.0,
}
"""Muon's factor on the orthogonalised update of a (fan_out, fan_in) matrix."""

SPECTRAL_GROWTH: Mapping[UpdateScale, float] = {
    "spectral_ratio": 0.0,
    "spectral_clamped": 0.0,
    "none": 0.0,
    "rms_match": 0.5,
}
"""For each update scale, the exponent of m in the ratio of an update's spectral norm to
sqrt(fan_out / fan_in), for matrices whose aspect ratio does not change with width."""

MUON_LR: Mapping[MuonLrRule, float] = {"constant": 0.0, "inverse_sqrt": -0.5, "inverse": -1.0}
"""For each lr rule, the exponent of m in Muon's lr."""

DEFAULT_UPDATE_SCALE: Mapping[Parametrisation, UpdateScale] = {
    "mup": "spectral_ratio",
    "mup-paper": "rms_match",
    "standard": "rms_match",
}
"""The default update scale, by parametrisation."""

SPECTRAL_LR_RULE: Mapping[UpdateScale, MuonLrRule] = {
    "spectral_ratio": "constant",
    "spectral_clamped": "constant",
    "none": "constant",
    "rms_match": "inverse_sqrt",
}
"""For each update scale, the lr rule that meets the spectral condition."""

DEFAULT_MUON_LR_RULE: Mapping[Parametrisation, Mapping[UpdateScale, MuonLrRule]] = {
    "mup": SPECTRAL_LR_RULE,
    "mup-paper": {**SPECTRAL_LR_RULE, "rms_match": "inverse"},
    "standard": dict.fromkeys(UPDATE_SCALES, "constant"),
}
"""Muon's default lr rule, by parametrisation and update scale."""


def chosen_update_scale(optimizer: OptimizerSpec) -> UpdateScale:
    """The update scale in the options; if there is none, the default of the parametrisation."""
    return optimizer.update_scale or DEFAULT_UPDATE_SCALE[optimizer.parametrisation]


def chosen_muon_lr_rule(optimizer: OptimizerSpec) -> MuonLrRule:
    """The rule for Muon's lr in the options; if there is none, the default of the parametrisation
    and the update scale."""
    return (
        optimizer.muon_lr_rule
        or DEFAULT_MUON_LR_RULE[optimizer.parametrisation][chosen_update_scale(optimizer)]
    )


def update_scale(optimizer: OptimizerSpec, fan_out: int, fan_in: int) -> float:
    """Muon's factor on the orthogonalised update of a (fan_out, fan_in) matrix."""
    return UPDATE_SCALES[chosen_update_scale(optimizer)](fan_out, fan_in)


def spectral_exponent(optimizer: OptimizerSpec) -> float:
    """Exponent of m in the ratio of the spectral norm of Muon's step to sqrt(fan_out / fan_in). The
    step is the lr times the scaled update. An exponent of 0 meets the spectral condition."""
    return SPECTRAL_GROWTH[chosen_update_scale(optimizer)] + MUON_LR[chosen_muon_lr_rule(optimizer)]


# Weight decay


@dataclass(frozen=True)
class WeightDecayFactor:
    """If e is the exponent of m in the lr, then the exponent of m in the weight decay is `offset` -
    `share` x e. With a `share` of 1, the product of lr and weight decay changes as m^offset."""

    offset: float
    share: float


WEIGHT_DECAY: Mapping[tuple[WeightDecayRule, OptimizerName], WeightDecayFactor] = {
    # lr x weight decay stays constant, so that weights average their updates over the same number
    # of steps at every width (arXiv 2405.13698).
    ("fixed_tokens", "adamw"): WeightDecayFactor(0.0, 1.0),
    ("fixed_tokens", "muon"): WeightDecayFactor(0.0, 1.0),
    # lr x weight decay of hidden matrices falls as 1/m (arXiv 2512.05620), for runs in which the
    # number of tokens grows with the number of parameters. AdamW's weight decay stays constant,
    # since under muP its lr already falls as 1/m.
    ("compute_optimal", "adamw"): WeightDecayFactor(0.0, 0.0),
    ("compute_optimal", "muon"): WeightDecayFactor(-1.0, 1.0),
    # The largest singular values are to be equal at every width under muP (arXiv 2510.15262). For
    # AdamW, weight decay grows as sqrt(m). For Muon, lr x weight decay stays constant, and so does
    # the bound on singular values, which is update scale / weight decay.
    ("sqrt_width", "adamw"): WeightDecayFactor(0.0, 0.5),
    ("sqrt_width", "muon"): WeightDecayFactor(0.0, 1.0),
    ("constant", "adamw"): WeightDecayFactor(0.0, 0.0),
    ("constant", "muon"): WeightDecayFactor(0.0, 0.0),
}

DEFAULT_WEIGHT_DECAY_RULE: Mapping[Parametrisation, WeightDecayRule] = {
    "mup": "fixed_tokens",
    "mup-paper": "constant",
    "standard": "constant",
}
"""The default weight-decay rule, by parametrisation."""


def chosen_weight_decay_rule(optimizer: OptimizerSpec) -> WeightDecayRule:
    """The weight-decay rule in the options; if there is none, the parametrisation's default."""
    return optimizer.weight_decay_rule or DEFAULT_WEIGHT_DECAY_RULE[optimizer.parametrisation]


def decay_product_exponent(optimizer: OptimizerSpec) -> float:
    """Exponent of m in the product of lr and weight decay of the hidden matrices. It is 0 under the
    weight-decay rule fixed_tokens."""
    decay = WEIGHT_DECAY[chosen_weight_decay_rule(optimizer), optimizer.name]
    if optimizer.name == "muon":
        lr_exponent = MUON_LR[chosen_muon_lr_rule(optimizer)]
    else:
        lr_exponent = TABLE[optimizer.parametrisation, HIDDEN, optimizer.name].lr
    return decay.offset + (1 - decay.share) * lr_exponent


# Factors


@dataclass(frozen=True)
class Factors:
    """Factors on the base values of hyperparameters."""

    init_std: float
    lr: float
    weight_decay: float
    eps: float
    multiplier: float


@dataclass(frozen=True)
class DepthFactors:
    """CompleteP's factors for depth, for the parameters in residual branches."""

    lr: float
    eps: float


UNSCALED = DepthFactors(lr=1.0, eps=1.0)
"""The factors for depth of parameters outside residual branches, and of users' models."""


def depth_factors(model: ModelSpec) -> DepthFactors:
    """CompleteP's factors for depth, for the parameters in the model's residual branches."""
    ratio, alpha = model.depth_ratio, model.depth_exponent
    return DepthFactors(lr=ratio ** (alpha - 1), eps=ratio**-alpha)


def rule_of(
    model: AnyModel, parametrisation: Parametrisation, role: Role, trained_by: OptimizerName
) -> Rule:
    """The exponents for a role: RESCALED_HEAD for a head of form B under `mup`, otherwise the entry
    of TABLE."""
    rescaled = parametrisation == "mup" and role is READOUT and model.head_form == "rescaled"
    return RESCALED_HEAD if rescaled else TABLE[parametrisation, role, trained_by]


def factors(
    model: AnyModel,
    optimizer: OptimizerSpec,
    role: Role,
    trained_by: OptimizerName,
    depth: DepthFactors = UNSCALED,
) -> Factors:
    """The factors for the parameters of one role, which the optimizer `trained_by` trains. `depth`
    holds their factors for depth.

    Under `lr_convention: absolute`, the factor on the lr is a power of the width instead of m, with
    the same exponent. The other factors stay the same.
    """
    m, rule = model.multiplier, rule_of(model, optimizer.parametrisation, role, trained_by)
    muon_lr = MUON_LR[chosen_muon_lr_rule(optimizer)]
    lr_exponent = muon_lr if trained_by == "muon" else rule.lr
    decay = WEIGHT_DECAY[chosen_weight_decay_rule(optimizer), trained_by]
    scale = m if optimizer.lr_convention == "base_relative" else float(model.width)
    return Factors(
        init_std=m**rule.init_std,
        lr=scale**lr_exponent * depth.lr,
        weight_decay=m ** (decay.offset - decay.share * lr_exponent),
        eps=m**rule.eps * depth.eps,
        multiplier=m**rule.multiplier,
    )


# Factors in the forward pass


def forward_multiplier(model: AnyModel, parametrisation: Parametrisation, role: Role) -> float:
    """The factor for width on the output of the embedding (role EMBEDDING) or on the input of the
    head (role READOUT). 1 for the other roles."""
    return float(model.multiplier ** rule_of(model, parametrisation, role, "adamw").multiplier)


def branch_multiplier(model: ModelSpec) -> float:
    """The factor for depth on the output of each residual branch."""
    return float(model.depth_ratio**-model.depth_exponent)


def attention_factor(model: ModelSpec) -> float:
    """The factor on the product of a query and a key, which have d entries: 1 / sqrt(d), or 8 / d
    under `attention_scale: inverse`. Both factors are equal if d is 64."""
    if model.attention_scale == "inverse_sqrt":
        return 1 / math.sqrt(model.score_dim)
    return 8 / model.score_dim
