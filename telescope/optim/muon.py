"""Muon (Jordan et al., 2024) on the matrices that a parameter consists of."""

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
"""Elements that are orthogonalised together: on a CPU as many as its cache holds, on a GPU enough
for all but the largest models."""


class MuonMatrix:
    """A matrix that Muon orthogonalises separately: a parameter, or a block of one."""

    def __init__(self, parameter: nn.Parameter, layout: MatrixLayout, index: int) -> None:
        self.parameter, self._layout, self._index = parameter, layout, index
        self.matrix = self._block(parameter.detach())

    def _block(self, x: Tensor) -> Tensor:
        return x if self._layout is MATRIX else self._layout.blocks(x)[self._index]

    @property
    def gradient(self) -> Tensor:
        """The gradient of the block."""
        assert self.parameter.grad is not None, "a step needs gradients"
        return self._block(self.parameter.grad)


def muon_matrices(parameter: nn.Parameter, layout: MatrixLayout) -> list[MuonMatrix]:
    count = 1 if layout is MATRIX else len(layout.blocks(parameter.detach()))
    return [MuonMatrix(parameter, layout, index) for index in range(count)]


class Muon(torch.optim.Optimizer):
    """Muon over the matrices of parameters.

    Matrices of one shape are orthogonalised together, as a stack; tall ones are transposed to be
    wide. The state holds one momentum buffer per stack, of wide matrices.
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
        shapes: defaultdict[tuple[int, ...], list[MuonMatrix]] = defaultdict(list)
        for parameter, layout in zip(params, layouts or [MATRIX] * len(params), strict=True):
            for block in muon_matrices(parameter, layout):
                shapes[tuple(sorted(block.matrix.shape))].append(block)
        self.stacks = tuple(shapes.values())

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        muon_steps([self])

    def momentum(self, stack: list[MuonMatrix]) -> Tensor:  # (K, small, large)
        """The momentum buffer of a stack; torch keeps it as state of the stack's first
        parameter."""
        state = self.state[stack[0].parameter]
        name = "momentum_buffer {}x{}".format(*sorted(stack[0].matrix.shape))
        if name not in state:
            state[name] = torch.stack([torch.zeros_like(as_wide(block.matrix)) for block in stack])
        buffer: Tensor = state[name]
        return buffer

    def mixed(self, stack: list[MuonMatrix], indices: Sequence[int]) -> Tensor:
        """Advance the momentum of some matrices of a stack by their gradients. Returns the matrices
        to orthogonalise: (len(indices), small, large)."""
        gradients = torch.stack([as_wide(stack[i].gradient) for i in indices])
        buffer = self.momentum(stack)
        momentum, nesterov = self.spec.momentum, self.spec.nesterov
        if indices[-1] - indices[0] + 1 == len(indices):
            consecutive = buffer[indices[0] : indices[-1] + 1]  # a view
            return mixed_momentum(gradients, consecutive, momentum, nesterov)
        scattered = buffer[list(indices)]  # a copy
        mixed = mixed_momentum(gradients, scattered, momentum, nesterov)
        buffer[list(indices)] = scattered
        return mixed

    def descend(self, matrices: list[Tensor], updates: Tensor) -> None:
        """Decay the matrices with the scaled lr, then subtract lr x update scale x update. The
        updates are wide: (len(matrices), small, large)."""
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
    """Make one step of each optimizer. The models have one shape; their matrices of one shape are
    orthogonalised together."""
    spec = muons[0].spec
    for stacks in zip(*(muon.stacks for muon in muons), strict=True):
        first = stacks[0]
        matrix = first[0].matrix
        at_once = max(1, ELEMENTS_AT_ONCE[matrix.device.type] // (len(muons) * matrix.numel()))
        # experts that received no token have no gradient
        moving = [i for i, block in enumerate(first) if block.parameter.grad is not None]
        for start in range(0, len(moving), at_once):
            indices = moving[start : start + at_once]
            mixed = torch.cat(
                [muon.mixed(stack, indices) for muon, stack in zip(muons, stacks, strict=True)]
            )  # (P len(indices), small, large)
            dtype = NEWTON_SCHULZ_DTYPES[spec.newton_schulz_dtype]
            updates = orthogonalize(mixed, spec.newton_schulz_steps, dtype=dtype)
            for muon, stack, own in zip(muons, stacks, updates.chunk(len(muons)), strict=True):
                muon.descend([stack[i].matrix for i in indices], own)
