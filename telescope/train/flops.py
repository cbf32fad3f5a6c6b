"""Counts the floating-point operations of a trial.

Only matrix products are counted, as in torch's own counter. Norms, rotations, the softmax, the loss
and the elementwise arithmetic of the optimizers are left out. The conventions are:

- A multiply-add counts as two operations.
- A backward pass costs twice as much as a forward pass. So training costs 6 operations per token
  and entry of a matrix (Kaplan et al., arXiv 2001.08361). The readout's matrix counts; the lookup
  of an embedding is free.
- Attention adds 12 x width x context operations per token and layer in training, with no discount
  for the causal mask (PaLM, arXiv 2204.02311, appendix B). Latent attention adds more, since its
  keys are wider than its values.
- Muon adds 4 m^2 n + 2 m^3 operations per Newton-Schulz iteration for each matrix that it
  orthogonalises, where m is the smaller side of the matrix and n is the larger side.

To compare these numbers with torch's counter on a CPU, switch off fused attention, which that
counter omits.

Training and measurements are counted. The measurements are the held-out losses, which are forward
passes, and the measurements by `Beginning` and `RunEnding` (telescope.train.probes). A run may
train on a table, which holds the questions and answers of an algorithmic task. Then each evaluation
counts as a forward pass over all rows; the spectral norms that the evaluation also computes are not
counted.

The forecast of a run counts the number of held-out tokens that the spec asks for. The FLOPs on a
curve count the held-out tokens that were actually read. A run that diverges skips the measurement
by `RunEnding`, and a held-out loss that is due at the step at which the run ends. A run that ends
early at `stop_below_loss` skips only the measurement by `RunEnding`. A *branch* is a run that
continues from a state of another run, its *trunk*. The steps and held-out losses that a branch
shares with its trunk are not counted.

The number of matrix entries and the operations of a forward pass come from the model's family
(telescope.models.family).
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
    """The number of trainable parameters, including embeddings."""
    any_optimizer = OptimizerSpec(name="adamw", lr=1.0, weight_decay=0.0)
    return sum(
        group.parameters for group in describe_groups(model, vocab_size, any_optimizer, context)
    )


def hidden_parameters(model: AnyModel) -> int:
    """The number of entries of all hidden matrices together. A hidden matrix is one whose two sides
    both grow with width."""
    return family_of(model).hidden_parameters(model)


def forward_flops_per_token(model: AnyModel, vocab_size: int, context: int) -> float:
    """Operations per token in a forward pass."""
    return family_of(model).forward_flops_per_token(model, vocab_size, context)


def training_flops_per_token(model: AnyModel, vocab_size: int, context: int) -> float:
    """Operations per token in a forward and a backward pass."""
    return 3 * forward_flops_per_token(model, vocab_size, context)


def newton_schulz_flops(model: AnyModel, steps: int, split: MuonSplit = "whole") -> float:
    """Operations of Muon's orthogonalisation in one optimizer step. `steps` is the number of
    Newton-Schulz iterations. `split` is the optimizer's option `muon_split`."""
    small_large = [(min(shape), max(shape)) for shape in orthogonalised(model, split)]
    return float(steps * sum(4 * m * m * n + 2 * m**3 for m, n in small_large))


def orthogonalised(model: AnyModel, split: MuonSplit) -> tuple[tuple[int, int], ...]:
    """The shape (fan_out, fan_in) of each matrix that Muon orthogonalises. `split` is the
    optimizer's option `muon_split`."""
    return family_of(model).orthogonalised(model, split)


@lru_cache(maxsize=65_536)
def step_flops(spec: TrialSpec) -> float:
    """Operations of one optimizer step of this trial, on a batch of full size."""
    flops = spec.windows * spec.data.context * step_flops_per_token(spec)
    if spec.optimizer.name == "muon":
        flops += newton_schulz_flops(
            spec.model, spec.optimizer.newton_schulz_steps, spec.optimizer.muon_split
        )
    return flops


def step_flops_per_token(spec: TrialSpec) -> float:
    """Operations per token in the forward and backward pass of a step. If the optimizer's options
    ask for attention logits, the operations that compute these logits again are included."""
    model, data = spec.model, spec.data
    flops = training_flops_per_token(model, data.vocab_size, data.context)
    # fused attention does not return its logits, so they are computed a second time
    if spec.optimizer.watches_logits:
        logit_flops_per_token = family_of(model).logit_flops_per_token
        assert logit_flops_per_token is not None, "telescope cannot see a user's model's logits"
        flops += logit_flops_per_token(model, data.context)
    return flops


def forward_flops(spec: TrialSpec, tokens: int) -> float:
    """Operations of a forward pass over `tokens` tokens."""
    return tokens * forward_flops_per_token(spec.model, spec.data.vocab_size, spec.data.context)


def evaluation_flops(spec: TrialSpec, windows: int | None = None) -> float:
    """Operations for one measurement of the held-out loss. `windows` is the number of windows, or
    rows of a table, that the measurement reads; by default, it is the number that the spec asks
    for."""
    windows = windows or spec.data.evaluated_windows(spec.horizon.evaluation_tokens)
    return forward_flops(spec, windows * spec.data.context)


def beginning_flops(spec: TrialSpec) -> float:
    """Operations of one measurement by telescope.train.probes.Beginning. The measurement is a
    forward pass over the batch, and the product of each layer's update with the layer's inputs at
    some of the tokens."""
    tokens = spec.horizon.batch_tokens
    probe_tokens = ceil(tokens / max(1, tokens // KEPT_TOKENS))
    return forward_flops(spec, tokens) + 2 * probe_tokens * hidden_parameters(spec.model)


def ending_flops(spec: TrialSpec) -> float:
    """Operations of the measurement by telescope.train.probes.RunEnding: a forward pass over one
    window before the last step and one after it, and the spectral norms of all hidden matrices and
    of their updates. If telescope cannot find the last features of a user's model, the forward
    passes are not made, but still counted."""
    products = 2 * POWER_STEPS + 1  # products of one matrix with VECTORS vectors
    norms = 2 * products * 2 * VECTORS * hidden_parameters(spec.model)
    return forward_flops(spec, 2 * spec.data.context) + norms


def evaluations_until(spec: TrialSpec, step: int, diverged: bool) -> int:
    """The number of times that a run has measured its held-out loss up to `step`. Measurements at
    the steps that the run shares with its trunk do not count. A run that has diverged at `step`
    skips a measurement that is due at this step."""
    steps = spec.horizon.steps
    every = (spec.horizon.evaluate_every or steps) if spec.measure == "loss" else steps
    due = step // every + (step == steps and steps % every > 0)
    skipped = diverged and (step % every == 0 or step == steps)
    return due - spec.branch_step // every - skipped


def flops_until(
    spec: TrialSpec, step: int, diverged: bool = False, windows: int | None = None
) -> float:
    """Operations that a run has spent when it records the point of its curve at `step`. `windows`
    has the same meaning as in `evaluation_flops`."""
    training = (step - spec.branch_step) * step_flops(spec)
    missing = step * spec.windows * spec.data.context - spec.tokens_until(step)
    if missing:  # the last batch of an epoch over a table is smaller than the others
        training -= missing * step_flops_per_token(spec)
    evaluations = evaluations_until(spec, step, diverged) * evaluation_flops(spec, windows)
    spent = training + evaluations
    if spec.measure == "coordinates":
        return spent + (step + 1) * beginning_flops(spec)
    ends = spec.measures_ending and step == spec.horizon.steps and not diverged
    return spent + (ending_flops(spec) if ends else 0.0)


@lru_cache(maxsize=65_536)
def trial_flops(spec: TrialSpec) -> float:
    """Operations of the whole run if the run does not end early. Work that the run shares with its
    trunk is not counted."""
    return flops_until(spec, spec.horizon.steps)
