"""What does a trial cost in floating-point operations?

Conventions: a multiply-add is two operations; backward costs twice forward, so training costs 6 per
matrix parameter and token (Kaplan et al., arXiv 2001.08361). The head's matrix counts; looking up
an embedding is free. Attention adds 12 x width x context per token and layer, the causal half not
discounted (PaLM, arXiv 2204.02311, appendix B); latent attention adds more, for its heads are
larger in logits than in values. Muon adds five Newton-Schulz steps of 4 m^2 n + 2 m^3 per (m x n)
matrix and optimizer step, m the smaller side. Matrix products are counted and nothing else, as
torch's own counter does: norms, rotations, the softmax, the loss and the arithmetic of the
optimizers on single numbers are left out. (Of the CPU's fused attention torch counts nothing at
all; compare with its plain one.)

Everything that a run does is counted, its training and what is measured besides: held-out losses (a
forward pass), and what telescope.train.probes reads in the first steps or at the end. Of the
held-out text a forecast takes there to be as much as is asked for; points of a curve count what was
read. A run that diverges saves its last held-out loss and what is measured at the end; one that
stops below its loss saves the latter. Of a branch, what its trunk has in common with it is not
counted: neither steps nor held-out losses.

Of a user's model torch's counter is asked, at two narrow widths over one window; its attention is
counted there, too.

Parts: `counted`, `module_flops_per_token`, a user's model · one token, one matrix, one step ·
`evaluation_flops`, `beginning_flops`, `ending_flops` · `flops_by` a step and `trial_flops`.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from telescope.errors import InvalidInput
from telescope.models.build import build
from telescope.models.reading import FACTORY_FIELD
from telescope.models.user_model import UserModel
from telescope.optim.groups import describe
from telescope.parametrisation.roles import Role
from telescope.train.probes import KEPT_TOKENS, POWER_STEPS, VECTORS
from telescope.trials.model import AnyModel, ModelSpec, ModuleSpec
from telescope.trials.optimizer import OptimizerSpec
from telescope.trials.spec import TrialSpec
from telescope.trials.types import MuonSplit


def hidden_shapes(model: ModelSpec) -> list[tuple[int, int]]:
    """(fan_out, fan_in) of the hidden matrices of one block."""
    width, hidden, rank = model.width, model.hidden, model.kv_rank
    query_output = [(width, width)] * 2
    if model.attention == "heads":
        key_value = [(model.kv_heads * model.head_dim, width)] * 2
    else:
        rotated = model.rotated_dim
        key_value = [(rank, width), (width, rank), (width, rank), (model.heads * rotated, width), (rotated, width)]
    ups = 2 if model.gated else 1
    return query_output + key_value + [(hidden, width)] * ups + [(width, hidden)]


@dataclass(frozen=True)
class Counted:
    """What the hidden matrices of a user's model are at a width."""

    hidden: int  # entries
    blocks: tuple[tuple[int, int], ...]  # (fan_out, fan_in) of each that Muon orthogonalises


@lru_cache(maxsize=256)
def counted(model: ModuleSpec) -> Counted:
    """Their number and shapes, without memory for their values."""
    with torch.device("meta"), torch.random.fork_rng(devices=()):
        built = UserModel(model, "standard")
    hidden = {name: layout for name, reading in built.readings.items() if reading.role is Role.HIDDEN and (layout := reading.layout)}
    blocks = [block for name, layout in hidden.items() for block in layout.blocks(built.get_parameter(name).detach())]
    return Counted(sum(built.get_parameter(name).numel() for name in hidden), tuple((block.shape[0], block.shape[1]) for block in blocks))


def module_flops_per_token(model: ModuleSpec, context: int) -> float:
    """Forward alone of a user's model: a w^2 + b w, through what is counted at the base width and at twice that.

    Matrices whose sides both grow make the first term, heads and attention the second.
    """
    w = model.base_width
    narrow, wide = (_counted_forward(replace(model, width=width), context) for width in (w, 2 * w))
    a, b = (wide - 2 * narrow) / (2 * w**2), (4 * narrow - wide) / (2 * w)
    return a * model.width**2 + b * model.width


@lru_cache(maxsize=256)
def _counted_forward(model: ModuleSpec, context: int) -> float:
    built, tokens = UserModel(model, "standard"), torch.zeros(1, context, dtype=torch.int64)
    try:
        with built.evaluating(), torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            built(tokens)
    except Exception as error:  # a user's code can raise anything
        message = (
            f"its model cannot be run on a window of {context} tokens: {type(error).__name__}: {error}; let it take data.context of them"
        )
        raise InvalidInput.of(FACTORY_FIELD, message, model.factory) from error
    return float(counter.get_total_flops()) / context


@lru_cache(maxsize=1024)
def parameters(model: AnyModel, vocab_size: int, context: int) -> int:
    """Trainable parameters, embeddings included."""
    any_optimizer = OptimizerSpec(name="adamw", lr=1.0, weight_decay=0.0)
    return sum(group.parameters for group in describe(model, vocab_size, any_optimizer, context))


def hidden_parameters(model: AnyModel) -> int:
    """Entries of all hidden matrices."""
    if isinstance(model, ModuleSpec):
        return counted(model).hidden
    return model.depth * sum(rows * columns for rows, columns in hidden_shapes(model))


def forward_flops_per_token(model: AnyModel, vocab_size: int, context: int) -> float:
    """Forward alone."""
    if isinstance(model, ModuleSpec):
        return module_flops_per_token(model, context)
    attention = logit_flops_per_token(model, context) + 2 * model.depth * model.width * context
    return float(2 * (hidden_parameters(model) + vocab_size * model.width) + attention)


def logit_flops_per_token(model: ModelSpec, context: int) -> int:
    """Attention's logits, of all layers."""
    return 2 * model.depth * model.heads * model.score_dim * context


def training_flops_per_token(model: AnyModel, vocab_size: int, context: int) -> float:
    """Forward and backward of one token."""
    return 3 * forward_flops_per_token(model, vocab_size, context)


def newton_schulz_flops(model: AnyModel, steps: int, split: MuonSplit = "whole") -> float:
    """Muon's orthogonalisation in one optimizer step."""
    small_large = [(min(shape), max(shape)) for shape in orthogonalised(model, split)]
    return float(steps * sum(4 * m * m * n + 2 * m**3 for m, n in small_large))


@lru_cache(maxsize=1024)
def orthogonalised(model: AnyModel, split: MuonSplit) -> tuple[tuple[int, int], ...]:
    """(fan_out, fan_in) of all matrices that Muon orthogonalises."""
    if isinstance(model, ModuleSpec):
        return counted(model).blocks
    if split == "whole":
        return tuple(hidden_shapes(model) * model.depth)
    optimizer = OptimizerSpec(name="muon", lr=1.0, weight_decay=0.0, muon_split=split)
    with torch.device("meta"):
        whole = build(model, 1, 2, optimizer.parametrisation)
        hidden = [name for name, role in whole.parameter_roles().items() if role is Role.HIDDEN]
        blocks = [block for name in hidden for block in whole.layout(name, optimizer).blocks(whole.get_parameter(name).detach())]
        return tuple((block.shape[0], block.shape[1]) for block in blocks)


@lru_cache(maxsize=65_536)
def step_flops(spec: TrialSpec) -> float:
    """One optimizer step, by itself."""
    model, horizon = spec.model, spec.horizon
    flops = horizon.batch_tokens * training_flops_per_token(model, spec.data.vocab_size, spec.data.context)
    if spec.optimizer.name == "muon":
        flops += newton_schulz_flops(model, spec.optimizer.newton_schulz_steps, spec.optimizer.muon_split)
    if spec.optimizer.watches_logits:  # they are computed once more: fused attention does not give them out
        assert isinstance(model, ModelSpec), "of a user's model nobody sees the logits"
        flops += horizon.batch_tokens * logit_flops_per_token(model, spec.data.context)
    return flops


def forward_flops(spec: TrialSpec, tokens: int) -> float:
    """Forward alone, of so many tokens."""
    return tokens * forward_flops_per_token(spec.model, spec.data.vocab_size, spec.data.context)


def evaluation_flops(spec: TrialSpec, windows: int | None = None) -> float:
    """One held-out loss, over so many windows; by default as many as the spec asks for."""
    context = spec.data.context
    return forward_flops(spec, (windows or max(1, spec.horizon.evaluation_tokens // context)) * context)


def beginning_flops(spec: TrialSpec) -> float:
    """One look of probes.Beginning: forward over the batch, and each layer's own update at the tokens that are kept."""
    tokens = spec.horizon.batch_tokens
    kept = ceil(tokens / max(1, tokens // KEPT_TOKENS))
    return forward_flops(spec, tokens) + 2 * kept * hidden_parameters(spec.model)


def ending_flops(spec: TrialSpec) -> float:
    """What probes.Ending does: forward over a window before and after, and the spectral norms of all matrices and of their updates."""
    products = 2 * POWER_STEPS + 1  # of a matrix with a few vectors
    return forward_flops(spec, 2 * spec.data.context) + 2 * products * 2 * VECTORS * hidden_parameters(spec.model)


def evaluations_by(spec: TrialSpec, step: int, diverged: bool) -> int:
    """Held-out losses measured up to a step, after those of a trunk; the one due where a run diverges is spared."""
    every, steps = spec.horizon.evaluate_every or spec.horizon.steps, spec.horizon.steps
    if spec.measure != "loss":
        every = steps
    due = step // every + (step == steps and steps % every > 0)
    spared = diverged and (step % every == 0 or step == steps)
    return due - spec.branch_step // every - spared


def flops_by(spec: TrialSpec, step: int, diverged: bool = False, windows: int | None = None) -> float:
    """All that a run has spent when it records its point at a step."""
    spent = (step - spec.branch_step) * step_flops(spec) + evaluations_by(spec, step, diverged) * evaluation_flops(spec, windows)
    if spec.measure == "coordinates":
        return spent + (step + 1) * beginning_flops(spec)
    ends = spec.measure == "loss" and step == spec.horizon.steps and not diverged
    return spent + (ending_flops(spec) if ends else 0.0)


@lru_cache(maxsize=65_536)
def trial_flops(spec: TrialSpec) -> float:
    """The whole run."""
    return flops_by(spec, spec.horizon.steps)
