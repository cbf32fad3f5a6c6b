"""Specification of an optimizer: base values, which do not depend on width, and the rules that
scale them.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from telescope.errors import Problem
from telescope.trials.model import KnownAttention
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
    """The options of the optimizers that a study does not sweep."""

    lr_convention: Literal["base_relative", "absolute"] = "base_relative"
    """For mup-paper: width factors relative to the base width, or absolute powers of the width as
    in the paper's table."""
    update_scale: UpdateScale | None = None
    """Muon's factor on the orthogonalised update; by default the parametrisation's own (see
    telescope.parametrisation.mup)."""
    muon_lr_rule: MuonLrRule | None = None
    """Fall of Muon's lr with m: none, as m^-1/2 or as 1/m; by default the rule that matches
    the update scale in this parametrisation."""
    weight_decay_rule: WeightDecayRule | None = None
    """The change of weight decay with m (see telescope.parametrisation.mup); by default the
    parametrisation's own."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.95
    nesterov: bool = True
    newton_schulz_steps: Annotated[int, Field(ge=1, lt=100)] = 5
    newton_schulz_dtype: Literal["bfloat16", "float32"] = "bfloat16"
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.95
    eps: Positive = 1e-8
    init_scale: Positive = 1.0
    """Factor on the initial values of hidden matrices."""
    muon_split: MuonSplit = "whole"
    """Whether Muon takes query, key and value as whole matrices or head by head (mla's rotary parts
    stay whole); for a user's model, set model.splits instead."""
    qk_clip: Positive | None = None
    """Muon's companion in MuonClip, for either optimizer: after each step, the query and key
    weights of heads whose largest attention logit exceeded this value are shrunk so that the logit
    falls to it (telescope.optim.qk_clip); 100 is usual."""
    qk_clip_alpha: Fraction = 0.5
    """The share of that shrinking (in the exponent) that queries take; keys take the rest."""
    measure_max_logit: bool = False
    """Record in the curve how large attention logits become; trials with qk_clip always do. With
    either, a trial trains alone and is not compiled."""

    @property
    def watches_logits(self) -> bool:
        """True if training looks at attention logits."""
        return self.qk_clip is not None or self.measure_max_logit


def clip_problems(attention: KnownAttention, optimizer: OptimizerOptions) -> Iterator[Problem]:
    """Reasons why logits cannot be clipped as requested: fields of the optimizer's options."""
    if optimizer.qk_clip is not None and attention.normed:
        message = "has no effect under model.qk_norm, which makes logits independent of the weights' size; drop one of the two"
        yield Problem("qk_clip", message, optimizer.qk_clip)
    alpha = optimizer.qk_clip_alpha
    if optimizer.qk_clip is None and alpha != OptimizerOptions.__dataclass_fields__["qk_clip_alpha"].default:
        yield Problem("qk_clip_alpha", "has no meaning without qk_clip; leave it out, or give qk_clip, too", alpha)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class OptimizerSpec(OptimizerOptions):
    """The optimizer and its base hyperparameters; `telescope.parametrisation.mup` derives the
    effective values of each parameter group."""

    name: OptimizerName
    lr: Positive
    """Base learning rate, independent of width (of Muon in a Muon run)."""
    weight_decay: NonNegative
    """Base decoupled weight decay: each step multiplies a weight by 1 - scaled_lr *
    scaled_weight_decay."""
    adamw_lr_ratio: Positive = 0.5
    """In a Muon run: base lr of the AdamW groups (embeddings, head, vectors) divided by Muon's base
    lr."""
    parametrisation: Parametrisation = "mup"
