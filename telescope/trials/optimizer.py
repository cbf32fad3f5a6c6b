"""Specification of an optimizer: its base values, which do not depend on width, and the rules that
scale them."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from telescope.errors import Problem
from telescope.trials.architecture import KnownAttention
from telescope.trials.types import (
    STRICT,
    Fraction,
    MuonLrRule,
    MuonSplit,
    NonNegative,
    OptimizerName,
    Parametrisation,
    Positive,
    UpdateScale,
    WeightDecayRule,
)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class OptimizerOptions:
    """Options of Muon and AdamW besides their base hyperparameters. A study may sweep `init_scale`,
    and `momentum` or, under AdamW, `beta1`; it does not sweep the others."""

    lr_convention: Literal["base_relative", "absolute"] = "base_relative"
    """For mup-paper: values scale with powers of width / base width (base_relative) or of the width
    itself (absolute), as in the paper's table."""
    update_scale: UpdateScale | None = None
    """Muon's factor on the orthogonalised update: spectral_ratio is sqrt(fan_out / fan_in),
    spectral_clamped the same but at least 1, rms_match 0.2 sqrt(max(fan_out, fan_in)), none 1. By
    default spectral_ratio under mup, and rms_match under mup-paper and standard."""
    muon_lr_rule: MuonLrRule | None = None
    """Change of Muon's learning rate with m = width / base width: constant, inverse_sqrt (as
    m^-1/2) or inverse (as 1/m); by default the rule that matches update_scale and the
    parametrisation."""
    weight_decay_rule: WeightDecayRule | None = None
    """Change of weight decay with m = width / base width. fixed_tokens: learning rate x weight
    decay stays constant; compute_optimal: this product falls as 1/m; sqrt_width: AdamW's weight
    decay grows as sqrt(m), and Muon's product stays constant; constant: weight decay itself stays
    constant. By default fixed_tokens under mup, otherwise constant."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """Muon's momentum: the share of the momentum buffer that a step keeps."""
    nesterov: bool = True
    """Nesterov momentum in Muon: the update is the new buffer, decayed once more, plus the
    gradient."""
    newton_schulz_steps: Annotated[int, Field(ge=1, lt=100)] = 5
    """Newton-Schulz iterations by which Muon orthogonalises an update."""
    newton_schulz_dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Number format of the Newton-Schulz iterations."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """AdamW's decay rate of the mean gradient, per step."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """AdamW's decay rate of the mean squared gradient, per step."""
    eps: Positive = 1e-8
    """AdamW's eps at the base width: the term that keeps the denominator above zero."""
    init_scale: Positive = 1.0
    """Factor on the initial values of hidden matrices."""
    muon_split: MuonSplit = "whole"
    """The query, key and value matrices as Muon sees them: whole, or heads (a matrix per head;
    mla's rotary parts stay whole). For a user's model, set model.splits instead."""
    qk_clip: Positive | None = None
    """Threshold of QK-clip (MuonClip), for either optimizer: after each step, the query and key
    weights of a head whose largest attention logit exceeded the threshold are shrunk so that this
    logit falls to it; 100 is usual. By default nothing is clipped."""
    qk_clip_alpha: Fraction = 0.5
    """With qk_clip: to shrink a logit by gamma, query weights are multiplied by gamma^alpha and
    key weights by gamma^(1 - alpha)."""
    measure_max_logit: bool = False
    """Record the largest attention logit in the curve, as qk_clip does too. With either option, a
    trial trains alone and is not compiled."""

    @property
    def watches_logits(self) -> bool:
        """True if training observes attention logits."""
        return self.qk_clip is not None or self.measure_max_logit


def clip_problems(attention: KnownAttention, optimizer: OptimizerOptions) -> Iterator[Problem]:
    """Problems of the options of QK-clip, for a model with this attention."""
    if optimizer.qk_clip is not None and attention.normed:
        message = (
            "has no effect under model.qk_norm, which makes logits independent of the weights' "
            "size; drop one of the two"
        )
        yield Problem("qk_clip", message, optimizer.qk_clip)
    alpha = optimizer.qk_clip_alpha
    default = OptimizerOptions.__dataclass_fields__["qk_clip_alpha"].default
    if optimizer.qk_clip is None and alpha != default:
        message = "has no meaning without qk_clip; leave it out, or give qk_clip, too"
        yield Problem("qk_clip_alpha", message, alpha)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class OptimizerSpec(OptimizerOptions):
    """The optimizer and its base hyperparameters; `telescope.parametrisation.mup` derives the
    effective values of each parameter group."""

    name: OptimizerName
    lr: Positive
    """Base learning rate, independent of width; in a Muon run, Muon's."""
    weight_decay: NonNegative
    """Base decoupled weight decay: each step multiplies a weight by 1 - scaled_lr *
    scaled_weight_decay."""
    adamw_lr_ratio: Positive = 0.5
    """In a Muon run: base lr of the AdamW groups (embeddings, output head, vectors) divided by
    Muon's base lr."""
    parametrisation: Parametrisation = "mup"
