"""What does a trial cost in floating-point operations?

Conventions: a multiply-add is two operations; backward costs twice forward, so training costs 6 per matrix parameter and token (Kaplan
et al., arXiv 2001.08361). The head's matrix counts; looking up an embedding is free. Attention adds 12 x width x context per token and
layer, the causal half not discounted (PaLM, arXiv 2204.02311, appendix B). Muon adds five Newton-Schulz steps of 4 m^2 n + 2 m^3 per
(m x n) matrix and optimizer step, m the smaller side. Evaluation is not counted.
"""

from functools import lru_cache

from telescope.optimizer import describe
from telescope.spec import ModelSpec, OptimizerSpec, TrialSpec


def hidden_shapes(model: ModelSpec) -> list[tuple[int, int]]:
    """(fan_out, fan_in) of the hidden matrices of one block."""
    kv = model.kv_heads * model.head_dim
    ups = 2 if model.mlp == "gated" else 1
    square, key_value = [(model.width, model.width)] * 2, [(kv, model.width)] * 2
    return square + key_value + [(model.hidden, model.width)] * ups + [(model.width, model.hidden)]


@lru_cache(maxsize=1024)
def parameters(model: ModelSpec, vocab_size: int) -> int:
    """Trainable parameters, embeddings included."""
    any_optimizer = OptimizerSpec(name="adamw", lr=1.0, weight_decay=0.0)
    return sum(group.parameters for group in describe(model, vocab_size, any_optimizer))


def training_flops_per_token(model: ModelSpec, vocab_size: int, context: int) -> float:
    """Forward and backward of one token."""
    hidden = model.depth * sum(rows * columns for rows, columns in hidden_shapes(model))
    attention = 12 * model.depth * model.width * context
    return float(6 * (hidden + vocab_size * model.width) + attention)


def newton_schulz_flops(model: ModelSpec, steps: int) -> float:
    """Muon's orthogonalisation in one optimizer step."""
    small_large = [(min(shape), max(shape)) for shape in hidden_shapes(model)]
    return float(model.depth * steps * sum(4 * m * m * n + 2 * m**3 for m, n in small_large))


@lru_cache(maxsize=65_536)
def step_flops(spec: TrialSpec) -> float:
    """One optimizer step."""
    model, horizon = spec.model, spec.horizon
    flops = horizon.batch_tokens * training_flops_per_token(model, spec.data.vocab_size, spec.data.context)
    if spec.optimizer.name == "muon":
        flops += newton_schulz_flops(model, spec.optimizer.newton_schulz_steps)
    return flops


def trial_flops(spec: TrialSpec) -> float:
    """The whole run."""
    return spec.horizon.steps * step_flops(spec)
