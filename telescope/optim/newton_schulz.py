"""Muon's orthogonalisation of a matrix.

Muon replaces the momentum matrix by an approximation of its polar factor. The polar factor has the
same singular vectors as the matrix, but all its singular values are one. A quintic Newton-Schulz
iteration moves the singular values close to one (K. Jordan et al., "Muon", 2024; arXiv 2505.02222,
appendix G).

The conventions are those of `torch.optim.Muon`. Momentum is an exponential average of the
gradients, and Nesterov's rule mixes this average with the current gradient. Before the iteration, a
matrix is divided by its Frobenius norm, or by `eps` if the norm is smaller. Weight decay is
multiplied by the learning rate, but not by the update scale, which is Muon's factor on an
orthogonalised matrix. `telescope.parametrisation.mup` gives the update scale and the learning rate
at each width.

The functions accept stacks of matrices of the same shape, which are then orthogonalised together.
`mixed_momentum` changes its buffer in place. No other argument is changed.
"""

from functools import cache

import torch
from torch import Tensor

from telescope.shapes import Float

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""The coefficients a, b and c of the iteration. One step maps each singular value s to
`a * s + b * s**3 + c * s**5`. Five steps move all singular values above about 0.0015 times the
matrix's Frobenius norm into the range [0.68, 1.20]."""


def orthogonalize(
    x: Float[Tensor, "*batch out in"],
    steps: int = 5,
    eps: float = 1e-7,
    dtype: torch.dtype = torch.bfloat16,
) -> Float[Tensor, "*batch out in"]:
    """Orthogonalise each matrix by `steps` Newton-Schulz iterations. The iterations and the result
    have the number format `dtype`. Zero matrices stay zero."""
    a, b, c = COEFFICIENTS
    tall = x.shape[-2] > x.shape[-1]
    y = x.to(dtype)
    y = y.mT if tall else y  # a wide matrix has the smaller Gram matrix y y^T
    y = y / torch.linalg.matrix_norm(y, keepdim=True).clamp(min=eps)
    product_dtype = torch.float32 if lacks_product(y) else dtype
    stack = y.reshape(-1, *y.shape[-2:]).to(product_dtype)  # (matrices, rows, columns)
    for _ in range(steps):
        gram = round_to(torch.bmm(stack, stack.mT), dtype)  # (matrices, rows, rows)
        polynomial = round_to(torch.baddbmm(gram, gram, gram, beta=b, alpha=c), dtype)
        stack = round_to(torch.baddbmm(stack, polynomial, stack, beta=a), dtype)
    result: Tensor = stack.to(dtype).reshape(y.shape)
    return result.mT if tall else result


def round_to(x: Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor with the values of `x` rounded to the number format `dtype`, but in the format of
    `x`."""
    return x.to(dtype).to(x.dtype)


def lacks_product(x: Tensor) -> bool:
    """True if torch multiplies matrices like `x` by its slow reference code.

    CPUs without AVX-512 or Arm's bfloat16 instructions have no product of bfloat16 matrices. torch
    is then 6 to 12 times slower than with float32, at the widths of a sweep (64 to 256). On such a
    CPU, a float32 product of the same numbers is computed and rounded to bfloat16. Other devices
    compute the same, except that they may add the terms in another order.
    """
    if x.dtype != torch.bfloat16 or not x.is_cpu:
        return False
    return not cpu_multiplies_bfloat16()


@cache
def cpu_multiplies_bfloat16() -> bool:
    """True if oneDNN, torch's library of CPU kernels, multiplies bfloat16 matrices on this CPU."""
    has_library = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return bool(has_library and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def mixed_momentum(
    gradient: Float[Tensor, "*batch out in"],
    momentum_buffer: Float[Tensor, "*batch out in"],
    momentum: float = 0.95,
    nesterov: bool = True,
) -> Float[Tensor, "*batch out in"]:
    """Update the momentum buffer B in place with the gradient G, where mu is `momentum`:

        B <- mu B + (1 - mu) G

    Return the matrix to orthogonalise, computed from the updated B:

        (1 - mu) G + mu B    under Nesterov's rule
        B                    otherwise
    """
    momentum_buffer.lerp_(gradient, 1 - momentum)
    return gradient.lerp(momentum_buffer, momentum) if nesterov else momentum_buffer
