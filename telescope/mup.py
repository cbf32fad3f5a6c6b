"""How does each hyperparameter scale with width?

One table, `TABLE`: for a parametrisation, a role and an optimizer, the exponents of m = width / base width by which the values at the
base width are multiplied. Text, model, optimizer, report and tests all read it. Since 1.0 ** e == 1.0, every factor at the base width
is exactly one, whatever the parametrisation.

- `mup`: AdamW as in CompleteP's summary table (head of form A: a forward multiplier, safe with tied embeddings). Muon with update
  scale sqrt(fan_out / fan_in) satisfies the spectral condition by itself, so its lr is constant. Weight decay is for a ladder at a
  fixed number of tokens: lr * weight_decay stays constant.
- `mup-paper`: arXiv 2505.02222, figure 5 (Tensor Programs V, table 9), as printed: the same table for AdamW and Muon, Muon with
  0.2 sqrt(max), weight decay and eps unscaled. Its Muon pairing is below the spectral condition by m^-1/2 (arXiv 2512.05620, app. G).
- `standard`: the control; only initial values know of width, as in any 1/sqrt(fan_in) initialisation.

Parts: `Rule`, `TABLE`, `factor`; `UPDATE_SCALES` and `update_scale` for Muon; `base_init_std`, the values at the base width.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from telescope.roles import Role
from telescope.spec import ModelSpec, OptimizerName, OptimizerSpec, Parametrisation, UpdateScale


@dataclass(frozen=True)
class Rule:
    """Exponents of m for one role under one optimizer."""

    init_std: float = 0.0
    lr: float = 0.0
    weight_decay: float = 0.0
    eps: float = 0.0
    multiplier: float = 0.0  # on the layer's output in the forward pass


EMBEDDING, HIDDEN, READOUT, VECTOR = Role.EMBEDDING, Role.HIDDEN, Role.READOUT, Role.VECTOR

TABLE: Mapping[tuple[Parametrisation, Role, OptimizerName], Rule] = {
    ("mup", EMBEDDING, "adamw"): Rule(),
    ("mup", HIDDEN, "adamw"): Rule(init_std=-0.5, lr=-1.0, weight_decay=1.0, eps=-1.0),
    ("mup", HIDDEN, "muon"): Rule(init_std=-0.5),
    ("mup", READOUT, "adamw"): Rule(multiplier=-1.0),
    ("mup", VECTOR, "adamw"): Rule(),
    ("mup-paper", EMBEDDING, "adamw"): Rule(init_std=-0.5, lr=-0.5, multiplier=0.5),
    ("mup-paper", HIDDEN, "adamw"): Rule(init_std=-0.5, lr=-1.0),
    ("mup-paper", HIDDEN, "muon"): Rule(init_std=-0.5, lr=-1.0),
    ("mup-paper", READOUT, "adamw"): Rule(init_std=-0.5, lr=-0.5, multiplier=-0.5),
    ("mup-paper", VECTOR, "adamw"): Rule(),  # norm gains are not in the paper's table
    ("standard", EMBEDDING, "adamw"): Rule(),
    ("standard", HIDDEN, "adamw"): Rule(init_std=-0.5),
    ("standard", HIDDEN, "muon"): Rule(init_std=-0.5),
    ("standard", READOUT, "adamw"): Rule(init_std=-0.5),
    ("standard", VECTOR, "adamw"): Rule(),
}

UNDECAYED = frozenset({VECTOR})
"""Roles that weight decay leaves alone."""


@dataclass(frozen=True)
class Factors:
    """A rule at one width: what to multiply the base values by."""

    init_std: float
    lr: float
    weight_decay: float
    eps: float
    multiplier: float


def factors(model: ModelSpec, optimizer: OptimizerSpec, role: Role, trained_by: OptimizerName) -> Factors:
    """Width factors of one role. The absolute convention takes powers of the width itself, for the lr only (the paper's c)."""
    m, rule = model.multiplier, TABLE[optimizer.parametrisation, role, trained_by]
    lr_base = m if optimizer.lr_convention == "base_relative" else float(model.width)
    return Factors(m**rule.init_std, lr_base**rule.lr, m**rule.weight_decay, m**rule.eps, m**rule.multiplier)


def forward_multiplier(model: ModelSpec, parametrisation: Parametrisation, role: Role) -> float:
    """Width factor on the output of the embedding or of the head, in training and generation alike."""
    return float(model.multiplier ** TABLE[parametrisation, role, "adamw"].multiplier)


def base_init_std(model: ModelSpec, role: Role, fan_in: int, feeds_residual: bool) -> float:
    """Initial standard deviation at the base width.

    Embeddings 0.5; hidden matrices 1/sqrt(fan_in), those that feed the residual stream divided by sqrt(2 depth) as in GPT-2; an untied
    head starts at zero. `fan_in` is that of the actual width, so it is divided by m.
    """
    if role is HIDDEN:
        return math.sqrt(model.multiplier / fan_in) / (math.sqrt(2 * model.depth) if feeds_residual else 1.0)
    return {EMBEDDING: 0.5, READOUT: 0.0, VECTOR: 0.0}[role]


UPDATE_SCALES: Mapping[UpdateScale, Callable[[int, int], float]] = {
    "spectral_ratio": lambda fan_out, fan_in: math.sqrt(fan_out / fan_in),
    "spectral_clamped": lambda fan_out, fan_in: math.sqrt(max(1.0, fan_out / fan_in)),
    "rms_match": lambda fan_out, fan_in: 0.2 * math.sqrt(max(fan_out, fan_in)),
    "none": lambda fan_out, fan_in: 1.0,
}
"""Muon's factor on the orthogonalised update of a (fan_out, fan_in) matrix."""

DEFAULT_UPDATE_SCALE: Mapping[Parametrisation, UpdateScale] = {
    "mup": "spectral_ratio",
    "mup-paper": "rms_match",
    "standard": "rms_match",
}


def update_scale(optimizer: OptimizerSpec, fan_out: int, fan_in: int) -> float:
    """Muon's update scale for one matrix under this optimizer's choice or its parametrisation's own."""
    return UPDATE_SCALES[optimizer.update_scale or DEFAULT_UPDATE_SCALE[optimizer.parametrisation]](fan_out, fan_in)
