"""The optimizer Muon (Jordan et al., 2024), for parameters that hold one or several matrices.

Muon orthogonalises the momentum of each matrix (telescope.optim.newton_schulz). A `MatrixLayout`
states which matrices a parameter holds, such as one matrix for each expert.
"""

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from telescope.optim.newton_schulz import mixed_momentum, orthogonalize
from telescope.parametrisation import mup
from telescope.parametrisation.layout import MATRIX, MatrixLayout
from telescope.trials.optimizer import OptimizerSpec

NEWTON_SCHULZ_DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}
ELEMENTS_AT_ONCE = {"cpu": 2**19, "cuda": 2**28}
"""For each type of device, the largest number of matrix elements to orthogonalise at once, over all
models that are trained together. If one matrix of each model already has more elements, just these
matrices are orthogonalised at once. On a CPU, this many elements fit into the cache. On a GPU, only
the largest models have more elements in all their matrices of one shape."""


class MuonMatrix:
    """A matrix that Muon orthogonalises separately: a parameter, or a piece of a parameter."""

    def __init__(self, parameter: nn.Parameter, layout: MatrixLayout, index: int) -> None:
        self.parameter, self._layout, self._index = parameter, layout, index
        self.matrix = self._piece(parameter.detach())

    def _piece(self, x: Tensor) -> Tensor:
        return x if self._layout is MATRIX else self._layout.blocks(x)[self._index]

    @property
    def gradient(self) -> Tensor:
        """The gradient of this matrix."""
        assert self.parameter.grad is not None, "a step needs gradients"
        return self._piece(self.parameter.grad)


def muon_matrices(parameter: nn.Parameter, layout: MatrixLayout) -> list[MuonMatrix]:
    """All matrices that a parameter with this layout holds."""
    count = 1 if layout is MATRIX else len(layout.blocks(parameter.detach()))
    return [MuonMatrix(parameter, layout, index) for index in range(count)]


class Muon(torch.optim.Optimizer):
    """Muon for the matrices of all given parameters.

    Tall matrices are transposed, so that all matrices are wide. Wide matrices of the same shape
    form a stack and are orthogonalised together. The optimizer's state holds one momentum buffer
    for each stack, of shape (matrices, small, large): a wide matrix has `small` rows and `large`
    columns. Without `layouts`, each parameter is one matrix.
    """

    def __init__(
        self,
        params: Sequence[nn.Parameter],
        spec: OptimizerSpec,
        scaled_lr: float,
        weight_decay: float,
        layouts: Sequence[MatrixLayout] = (),
    ) -> None:
        super().__init__(params, {"lr": scaled_lr, "weight_decay": weight_decay})
        self.spec = spec
        by_shape: defaultdict[tuple[int, ...], list[MuonMatrix]] = defaultdict(list)
        for parameter, layout in zip(params, layouts or [MATRIX] * len(params), strict=True):
            for item in muon_matrices(parameter, layout):
                by_shape[tuple(sorted(item.matrix.shape))].append(item)
        self.stacks = tuple(by_shape.values())

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        muon_steps([self])

    def momentum(self, stack: list[MuonMatrix]) -> Tensor:  # (matrices, small, large)
        """The momentum buffer of a stack, which starts at zero. The optimizer's state holds the
        buffer under the stack's first parameter."""
        state = self.state[stack[0].parameter]
        name = "momentum_buffer {}x{}".format(*sorted(stack[0].matrix.shape))
        if name not in state:
            state[name] = torch.stack([torch.zeros_like(as_wide(item.matrix)) for item in stack])
        buffer: Tensor = state[name]
        return buffer

    def advance_momentum(self, stack: list[MuonMatrix], indices: Sequence[int]) -> Tensor:
        """Update the momentum of the matrices at `indices` of a stack with their gradients. Return
        the matrices to orthogonalise, of shape (len(indices), small, large)."""
        gradients = torch.stack([as_wide(stack[i].gradient) for i in indices])
        buffer = self.momentum(stack)
        momentum, nesterov = self.spec.momentum, self.spec.nesterov
        if indices[-1] - indices[0] + 1 == len(indices):
            consecutive = buffer[indices[0] : indices[-1] + 1]  # a view
            return mixed_momentum(gradients, consecutive, momentum, nesterov)
        scattered = buffer[list(indices)]  # a copy
        directions = mixed_momentum(gradients, scattered, momentum, nesterov)
        buffer[list(indices)] = scattered
        return directions

    def descend(self, matrices: list[Tensor], updates: Tensor) -> None:
        """Multiply each matrix by 1 - (lr x weight decay), then subtract the product of lr, update
        scale and update. The update scale is a factor that depends on the matrix's shape. `updates`
        holds the orthogonalised matrices, which are wide: (len(matrices), small, large)."""
        lr, weight_decay = self.param_groups[0]["lr"], self.param_groups[0]["weight_decay"]
        torch._foreach_mul_(matrices, 1 - lr * weight_decay)
        for matrix, update in zip(matrices, updates.to(matrices[0].dtype), strict=True):
            matrix.add_(
                update if as_wide(matrix) is matrix else update.mT,
                alpha=-lr * mup.update_scale(self.spec, *matrix.shape),
            )


def as_wide(matrix: Tensor) -> Tensor:
    """The matrix, or its transpose if it has more rows than columns."""
    return matrix.mT if matrix.shape[0] > matrix.shape[1] else matrix


@torch.no_grad()
def muon_steps(muons: Sequence[Muon]) -> None:
    """Take one step of each optimizer. All optimizers must train models of the same shape. Matrices
    of the same shape are orthogonalised together, across all models."""
    spec = muons[0].spec
    for stacks in zip(*(muon.stacks for muon in muons), strict=True):
        first = stacks[0]
        matrix = first[0].matrix
        at_once = max(1, ELEMENTS_AT_ONCE[matrix.device.type] // (len(muons) * matrix.numel()))
        # a matrix has no gradient if no token used it, as in an expert that received no token
        to_update = [i for i, item in enumerate(first) if item.parameter.grad is not None]
        for start in range(0, len(to_update), at_once):
            indices = to_update[start : start + at_once]
            directions = torch.cat(
                [
                    muon.advance_momentum(stack, indices)
                    for muon, stack in zip(muons, stacks, strict=True)
                ]
            )  # (len(muons) * len(indices), small, large)
            dtype = NEWTON_SCHULZ_DTYPES[spec.newton_schulz_dtype]
            updates = orthogonalize(directions, spec.newton_schulz_steps, dtype=dtype)
            chunks = updates.chunk(len(muons))
            for muon, stack, own_updates in zip(muons, stacks, chunks, strict=True):
                muon.descend([stack[i].matrix for i in indices], own_updates)
