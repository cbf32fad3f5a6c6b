"""Floating-point operations of a trial.

Conventions: a multiply-add is two operations. A backward pass costs twice a forward pass, so
training costs 6 operations per matrix parameter and token (Kaplan et al., arXiv 2001.08361). The
readout matrix counts; an embedding lookup is free. Attention adds 12 x width x context per token
and layer, without a discount for the causal mask (PaLM, arXiv 2204.02311, appendix B); latent
attention adds more, since its keys are wider than its values. Muon adds Newton-Schulz steps of
4 m^2 n + 2 m^3 per (m x n) matrix and optimizer step, where m is the smaller side. Only matrix
products are counted, as in torch's own counter: norms, rotations, the softmax, the loss and the
elementwise arithmetic of the optimizers are left out. (Torch's counter omits the CPU's fused
attention; to compare, use plain attention.)

All work of a run is counted, training and measurements: held-out losses (forward passes), and the
probes of the first steps or of the end (telescope.train.probes). A forecast counts as many held-out
tokens as the spec asks for; a curve counts the tokens that were actually read. A run that diverges
skips the held-out loss of its last step and the measurements at its end; a run that ends early at
`stop_below_loss` skips only these measurements. The steps and held-out losses that a branch shares
with its trunk are not counted.

The model's family counts the matrices and the forward pass (telescope.models.family).

Parts: `parameters` and `hidden_parameters` · `forward_flops_per_token`, `training_flops_per_token`,
`newton_schulz_flops`, `step_flops` · `evaluation_flops`, `beginning_flops`, `ending_flops`, for
measurements · `flops_until`, up to a step, and `trial_flops`.
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
    """Number of trainable parameters, embeddings included."""
    any_optimizer = OptimizerSpec(name="adamw", lr=1.0, weight_decay=0.0)
    return sum(
        group.parameters for group in describe_groups(model, vocab_size, any_optimizer, context)
    )


def hidden_parameters(model: AnyModel) -> int:
    """Number of entries in hidden matrices."""
    return family_of(model).hidden_parameters(model)


def forward_flops_per_token(model: AnyModel, vocab_size: int, context: int) -> float:
    """Operations of a forward pass, per token."""
    return family_of(model).forward_flops_per_token(model, vocab_size, context)


def training_flops_per_token(model: AnyModel, vocab_size: int, context: int) -> float:
    """Operations of a forward and a backward pass, per token."""
    return 3 * forward_flops_per_token(model, vocab_size, context)


def newton_schulz_flops(model: AnyModel, steps: int, split: MuonSplit = "whole") -> float:
    """Operations of Muon's orthogonalisation in one optimizer step."""
    small_large = [(min(shape), max(shape)) for shape in orthogonalised(model, split)]
    return float(steps * sum(4 * m * m * n + 2 * m**3 for m, n in small_large))


def orthogonalised(model: AnyModel, split: MuonSplit) -> tuple[tuple[int, int], ...]:
    """(fan_out, fan_in) of each matrix that Muon orthogonalises."""
    return family_of(model).orthogonalised(model, split)


@lru_cache(maxsize=65_536)
def step_flops(spec: TrialSpec) -> float:
    """Operations of one optimizer step of this trial."""
    model, horizon = spec.model, spec.horizon
    flops = horizon.batch_tokens * training_flops_per_token(
        model, spec.data.vocab_size, spec.data.context
    )
    if spec.optimizer.name == "muon":
        flops += newton_schulz_flops(
            model, spec.optimizer.newton_schulz_steps, spec.optimizer.muon_split
        )
    # observed logits are computed twice, since fused attention does not return them
    if spec.optimizer.watches_logits:
        logit_flops_per_token = family_of(model).logit_flops_per_token
        assert logit_flops_per_token is not None, "telescope cannot see a user's model's logits"
        flops += horizon.batch_tokens * logit_flops_per_token(model, spec.data.context)
    return flops


def forward_flops(spec: TrialSpec, tokens: int) -> float:
    """Operations of a forward pass over `tokens` tokens."""
    return tokens * forward_flops_per_token(spec.model, spec.data.vocab_size, spec.data.context)


def evaluation_flops(spec: TrialSpec, windows: int | None = None) -> float:
    """Operations of one held-out loss over `windows` windows; by default the spec's number."""
    context = spec.data.context
    windows = windows or max(1, spec.horizon.evaluation_tokens // context)
    return forward_flops(spec, windows * context)


def beginning_flops(spec: TrialSpec) -> float:
    """Operations of one measurement of probes.Beginning: a forward pass over the batch, and each
    layer's own update applied to the probe tokens."""
    tokens = spec.horizon.batch_tokens
    probe_tokens = ceil(tokens / max(1, tokens // KEPT_TOKENS))
    return forward_flops(spec, tokens) + 2 * probe_tokens * hidden_parameters(spec.model)


def ending_flops(spec: TrialSpec) -> float:
    """Operations of probes.Ending: a forward pass over a window before and after the last step, and
    the spectral norms of all hidden matrices and of their updates."""
    products = 2 * POWER_STEPS + 1  # each a matrix times VECTORS vectors
    norms = 2 * products * 2 * VECTORS * hidden_parameters(spec.model)
    return forward_flops(spec, 2 * spec.data.context) + norms


def evaluations_until(spec: TrialSpec, step: int, diverged: bool) -> int:
    """Number of held-out losses that a run has measured up to `step`, its trunk's excluded. A run
    that diverges at `step` skips the held-out loss that is due there, if any."""
    steps = spec.horizon.steps
    every = (spec.horizon.evaluate_every or steps) if spec.measure == "loss" else steps
    due = step // every + (step == steps and steps % every > 0)
    skipped = diverged and (step % every == 0 or step == steps)
    return due - spec.branch_step // every - skipped


def flops_until(
    spec: TrialSpec, step: int, diverged: bool = False, windows: int | None = None
) -> float:
    """Operations that a run has spent when it records its point at `step`; `windows` is the number
    of windows of a held-out loss, by default the spec's."""
    training = (step - spec.branch_step) * step_flops(spec)
    evaluations = evaluations_until(spec, step, diverged) * evaluation_flops(spec, windows)
    spent = training + evaluations
    if spec.measure == "coordinates":
        return spent + (step + 1) * beginning_flops(spec)
    ends = spec.measure == "loss" and step == spec.horizon.steps and not diverged
    return spent + (ending_flops(spec) if ends else 0.0)


@lru_cache(maxsize=65_536)
def trial_flops(spec: TrialSpec) -> float:
    """Operations of the whole run, if it does not end early; without the steps of its trunk."""
    return flops_until(spec, spec.horizon.steps)
