"""Specification of an optimizer: its hyperparameters, and the rules that scale them with width."""

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
    """Options of Muon and AdamW. A study may sweep three of them: `init_scale`, `momentum` in Muon
    runs, and `beta1` in AdamW runs."""

    lr_convention: Literal["base_relative", "absolute"] = "base_relative"
    """How the learning rate depends on width. base_relative: it scales with a power of width / base
    width. absolute: it scales with the same power of the width itself, as in arXiv 2505.02222;
    allowed only under mup-paper."""
    update_scale: UpdateScale | None = None
    """Muon's factor on the orthogonalised update of a matrix with fan_out rows and fan_in columns.
    spectral_ratio: sqrt(fan_out / fan_in). spectral_clamped: the same, but at least 1. rms_match:
    0.2 sqrt(max(fan_out, fan_in)). none: 1. By default, it is spectral_ratio under mup, and
    rms_match under mup-paper and standard."""
    muon_lr_rule: MuonLrRule | None = None
    """How Muon's learning rate changes with m = width / base width. constant: it does not change.
    inverse_sqrt: it falls as m^-1/2. inverse: it falls as 1/m. By default, update_scale and the
    parametrisation determine the rule."""
    weight_decay_rule: WeightDecayRule | None = None
    """How weight decay changes with m = width / base width. The rules concern the *product* of
    learning rate and weight decay. fixed_tokens: the product stays constant. compute_optimal: for
    hidden matrices, the product falls as 1/m. sqrt_width: for hidden matrices, AdamW's weight decay
    grows as sqrt(m), and Muon's product stays constant. constant: weight decay itself stays
    constant. AdamW under standard is different: its learning rate and weight decay stay constant
    under every rule. By default, the rule is fixed_tokens under mup, and constant otherwise."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """Muon's momentum. Each step sets the momentum buffer to momentum x buffer + (1 - momentum) x
    gradient."""
    nesterov: bool = True
    """Use Nesterov momentum in Muon: momentum x new buffer + (1 - momentum) x gradient is
    orthogonalised. If false, the new buffer is orthogonalised."""
    newton_schulz_steps: Annotated[int, Field(ge=1, lt=100)] = 5
    """Number of Newton-Schulz iterations by which Muon orthogonalises an update."""
    newton_schulz_dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Number format of the Newton-Schulz iterations."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """AdamW's decay rate, per step, of the running mean of the gradient."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """AdamW's decay rate, per step, of the running mean of the squared gradient."""
    eps: Positive = 1e-8
    """AdamW's eps at the base width: the number that is added to the denominator to keep it above
    zero."""
    init_scale: Positive = 1.0
    """Factor on the initial values of hidden matrices."""
    muon_split: MuonSplit = "whole"
    """How Muon orthogonalises the query, key and value matrices. whole: each as one matrix. heads:
    each as one matrix per head, except the rotary matrices of mla. For a user's model, set
    model.splits instead."""
    qk_clip: Positive | None = None
    """Threshold of QK-clip (MuonClip), which works with Muon and AdamW. If the largest attention
    logit S of a head exceeds the threshold in a step, the head's query and key weights are shrunk
    after the step, so that the head's logits are multiplied by gamma = threshold / S. Heads that
    share a key are shrunk together, by the largest S among them; under mla, each head is shrunk
    alone. A usual threshold is 100. By default, nothing is clipped."""
    qk_clip_alpha: Fraction = 0.5
    """With qk_clip: the exponent alpha. The query weights are multiplied by gamma^alpha and the key
    weights by gamma^(1 - alpha). Under mla, the rotary query weights are multiplied by gamma
    instead, and the rotary key weights stay unchanged."""
    measure_max_logit: bool = False
    """Record the largest attention logit in the loss curve. qk_clip records this logit, too. With
    either option, a trial trains alone and is not compiled."""

    @property
    def watches_logits(self) -> bool:
        """True if the attention logits are recorded in training."""
        return self.qk_clip is not None or self.measure_max_logit


def convention_problems(
    parametrisation: Parametrisation, optimizer: OptimizerOptions
) -> Iterator[Problem]:
    """A problem if `lr_convention` is absolute but the parametrisation is not mup-paper."""
    if optimizer.lr_convention == "absolute" and parametrisation != "mup-paper":
        message = (
            f"has no meaning under {parametrisation}; leave it out, or use parametrisation: "
            "mup-paper"
        )
        yield Problem("lr_convention", message, optimizer.lr_convention)


def clip_problems(
    attention: KnownAttention | None, optimizer: OptimizerOptions
) -> Iterator[Problem]:
    """Problems of `qk_clip`, `qk_clip_alpha` and `measure_max_logit` in a model with this
    attention. `attention` is None for a user's model."""
    if attention is None:
        message = "telescope cannot see the attention logits of a user's model; leave it out"
        if optimizer.qk_clip is not None:
            yield Problem("qk_clip", message, optimizer.qk_clip)
        if optimizer.measure_max_logit:
            yield Problem("measure_max_logit", message, True)
        return
    if optimizer.qk_clip is not None and attention.normed:
        message = (
            "has no effect under model.qk_norm, which makes logits independent of the weights' "
            "size; leave out qk_clip, or use model.qk_norm: false"
        )
        yield Problem("qk_clip", message, optimizer.qk_clip)
    alpha = optimizer.qk_clip_alpha
    default = OptimizerOptions.__dataclass_fields__["qk_clip_alpha"].default
    if optimizer.qk_clip is None and alpha != default:
        message = "has no meaning without qk_clip; leave it out, or also set qk_clip"
        yield Problem("qk_clip_alpha", message, alpha)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class OptimizerSpec(OptimizerOptions):
    """The optimizer with its base hyperparameters and options. `telescope.parametrisation.mup`
    computes the factors that scale the base hyperparameters for each parameter group."""

    name: OptimizerName
    lr: Positive
    """Base learning rate, which does not depend on width. In a Muon run, it is Muon's base learning
    rate."""
    weight_decay: NonNegative
    """Base weight decay, which does not depend on width. It is decoupled: each step multiplies the
    weights by 1 - lr x weight decay, with the lr and the weight decay at the model's width. Vectors
    (gains and biases) have no weight decay."""
    adamw_lr_ratio: Positive = 0.5
    """In a Muon run: the base learning rate of AdamW, which trains embeddings, output head and
    vectors, divided by the base learning rate of Muon."""
    parametrisation: Parametrisation = "mup"
