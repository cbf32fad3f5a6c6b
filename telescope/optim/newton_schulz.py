"""Muon's orthogonalisation of a matrix.

Muon replaces the momentum matrix by (nearly) its polar factor: a quintic Newton-Schulz iteration
moves all singular values close to one (K. Jordan et al., "Muon", 2024; arXiv 2505.02222, appendix
G). The conventions follow `torch.optim.Muon`: momentum is an exponential average, which Nesterov's
rule mixes with the gradient; the Frobenius norm is clamped at `eps`; weight decay is multiplied by
the lr, but not by the update scale. The update scale and the lr at each width come from
`telescope.parametrisation.mup`.

The functions are batched over leading dimensions, so that stacked matrices of one shape are
orthogonalised together. `mixed_momentum` changes its buffer in place; all other arguments stay
unchanged.

Parts: `COEFFICIENTS`, `orthogonalize`, `mixed_momentum`.
"""

import torch
from torch import Tensor

from telescope.shapes import Float

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""a, b and c: a step maps each singular value s to a s + b s^3 + c s^5. Five steps map singular
values above about 0.003 of the Frobenius norm into [0.68, 1.20]."""


def orthogonalize(
    x: Float[Tensor, "*batch out in"],
    steps: int = 5,
    eps: float = 1e-7,
    dtype: torch.dtype = torch.bfloat16,
) -> Float[Tensor, "*batch out in"]:
    """Orthogonalise each matrix by Newton-Schulz iteration, in `dtype`, which is also the dtype of
    the result. Zero matrices stay zero."""
    a, b, c = COEFFICIENTS
    tall = x.shape[-2] > x.shape[-1]
    y = x.to(dtype)
    y = y.mT if tall else y  # so that the Gram matrix is the smaller one
    y = y / torch.linalg.matrix_norm(y, keepdim=True).clamp(min=eps)
    stack = y.reshape(-1, *y.shape[-2:])  # (matrices, rows, columns)
    for _ in range(steps):
        gram = torch.bmm(stack, stack.mT)  # (matrices, rows, rows)
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        stack = torch.baddbmm(stack, polynomial, stack, beta=a)
    result: Tensor = stack.reshape(y.shape)
    return result.mT if tall else result


def mixed_momentum(
    gradient: Float[Tensor, "*batch out in"],
    momentum_buffer: Float[Tensor, "*batch out in"],
    momentum: float = 0.95,
    nesterov: bool = True,
) -> Float[Tensor, "*batch out in"]:
    """Advance the buffer B in place by the gradient G: B <- mu B + (1 - mu) G, where mu is
    `momentum`. Returns the matrix to orthogonalise: (1 - mu) G + mu B, or B without Nesterov."""
    momentum_buffer.lerp_(gradient, 1 - momentum)
    return gradient.lerp(momentum_buffer, momentum) if nesterov else momentum_buffer
