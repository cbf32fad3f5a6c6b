"""Floating-point operations of a trial.

Conventions: a multiply-add is two operations; backward costs twice forward, so training costs 6 per
matrix parameter and token (Kaplan et al., arXiv 2001.08361). The head's matrix counts; an embedding
lookup is free. Attention adds 12 x width x context per token and layer, without a discount for the
causal mask (PaLM, arXiv 2204.02311, appendix B); latent attention adds more, since its heads are
larger in logits than in values. Muon adds five Newton-Schulz steps of 4 m^2 n + 2 m^3 per (m x n)
matrix and optimizer step, m the smaller side. Only matrix products are counted, as in torch's own
counter: norms, rotations, the softmax, the loss and the elementwise arithmetic of the optimizers
are left out. (Torch counts nothing for the CPU's fused attention; compare with its plain
attention.)

Everything that a run does is counted, training and measurements: held-out losses (a forward pass),
and what telescope.train.probes measures in the first steps or at the end. A forecast assumes that
there are as many held-out tokens as the spec asks for; points of a curve count the tokens that were
read. A run that diverges saves its last held-out loss and the measurements at its end; a run that
stops below its loss saves the latter. The steps and held-out losses that a branch shares with its
trunk are not counted.

Matrices and forward pass are counted by the model's family (telescope.models.family).

Parts: one token, one matrix, one step · `evaluation_flops`, `beginning_flops`, `ending_flops` ·
`flops_by` a step and `trial_flops`.
"""

from functools import lru_cache
from math import ceil

from telescope.models.build import family_of
from telescope.optim.groups import describe_groups
from telescope.train.probes import KEPT_TOKENS, POWER_STEPS, VECTORS
from telescope.trials.model import AnyModel
from telescope.trials.optimizer import OptimizerSpec
from telescope.trials.spec import TrialSpec
from telescope.trials.types import MuonSplit


@lru_cache(maxsize=1024)
def parameters(model: AnyModel, vocab_size: int, context: int) -> int:
    """Trainable parameters, embeddings included."""
    any_optimizer = OptimizerSpec(name="adamw", lr=1.0, weight_decay=0.0)
    return sum(
        group.parameters for group in describe_groups(model, vocab_size, any_optimizer, context)
    )


def hidden_parameters(model: AnyModel) -> int:
    """Entries of all hidden matrices."""
    return family_of(model).hidden_parameters(model)


def forward_flops_per_token(model: AnyModel, vocab_size: int, context: int) -> float:
    """Forward pass of one token."""
    return family_of(model).forward_flops_per_token(model, vocab_size, context)


def training_flops_per_token(model: AnyModel, vocab_size: int, context: int) -> float:
    """Forward and backward pass of one token."""
    return 3 * forward_flops_per_token(model, vocab_size, context)


def newton_schulz_flops(model: AnyModel, steps: int, split: MuonSplit = "whole") -> float:
    """Muon's orthogonalisation in one optimizer step."""
    small_large = [(min(shape), max(shape)) for shape in orthogonalised(model, split)]
    return float(steps * sum(4 * m * m * n + 2 * m**3 for m, n in small_large))


def orthogonalised(model: AnyModel, split: MuonSplit) -> tuple[tuple[int, int], ...]:
    """(fan_out, fan_in) of all matrices that Muon orthogonalises."""
    return family_of(model).orthogonalised(model, split)


@lru_cache(maxsize=65_536)
def step_flops(spec: TrialSpec) -> float:
    """One optimizer step of this trial."""
    model, horizon = spec.model, spec.horizon
    flops = horizon.batch_tokens * training_flops_per_token(
        model, spec.data.vocab_size, spec.data.context
    )
    if spec.optimizer.name == "muon":
        flops += newton_schulz_flops(
            model, spec.optimizer.newton_schulz_steps, spec.optimizer.muon_split
        )
    # logits are computed again: fused attention does not return them
    if spec.optimizer.watches_logits:
        logit_flops_per_token = family_of(model).logit_flops_per_token
        assert logit_flops_per_token is not None, "telescope cannot see a user's model's logits"
        flops += horizon.batch_tokens * logit_flops_per_token(model, spec.data.context)
    return flops


def forward_flops(spec: TrialSpec, tokens: int) -> float:
    """Forward pass of so many tokens."""
    return tokens * forward_flops_per_token(spec.model, spec.data.vocab_size, spec.data.context)


def evaluation_flops(spec: TrialSpec, windows: int | None = None) -> float:
    """One held-out loss over so many windows; by default as many as the spec asks for."""
    context = spec.data.context
    return forward_flops(
        spec, (windows or max(1, spec.horizon.evaluation_tokens // context)) * context
    )


def beginning_flops(spec: TrialSpec) -> float:
    """One measurement of probes.Beginning: forward over the batch, and each layer's own update at
    the tokens that are kept."""
    tokens = spec.horizon.batch_tokens
    kept = ceil(tokens / max(1, tokens // KEPT_TOKENS))
    return forward_flops(spec, tokens) + 2 * kept * hidden_parameters(spec.model)


def ending_flops(spec: TrialSpec) -> float:
    """The measurements of probes.Ending: forward over a window before and after, and the spectral
    norms of all matrices and of their updates."""
    products = 2 * POWER_STEPS + 1  # times a matrix, with a few vectors
    return forward_flops(
        spec, 2 * spec.data.context
    ) + 2 * products * 2 * VECTORS * hidden_parameters(spec.model)


def evaluations_by(spec: TrialSpec, step: int, diverged: bool) -> int:
    """Number of held-out losses up to a step, after those of a trunk; a run that diverges skips the
    last one."""
    every, steps = spec.horizon.evaluate_every or spec.horizon.steps, spec.horizon.steps
    if spec.measure != "loss":
        every = steps
    due = step // every + (step == steps and steps % every > 0)
    spared = diverged and (step % every == 0 or step == steps)
    return due - spec.branch_step // every - spared


def flops_by(
    spec: TrialSpec, step: int, diverged: bool = False, windows: int | None = None
) -> float:
    """Operations that a run has spent when it records its point at a step."""
    spent = (step - spec.branch_step) * step_flops(spec) + evaluations_by(
        spec, step, diverged
    ) * evaluation_flops(spec, windows)
    if spec.measure == "coordinates":
        return spent + (step + 1) * beginning_flops(spec)
    ends = spec.measure == "loss" and step == spec.horizon.steps and not diverged
    return spent + (ending_flops(spec) if ends else 0.0)


@lru_cache(maxsize=65_536)
def trial_flops(spec: TrialSpec) -> float:
    """Operations of the whole run."""
    return flops_by(spec, spec.horizon.steps)
