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
"""How many elements are orthogonalised together: on a CPU what its cache holds, on a GPU all but
the largest models."""


class MuonMatrix:
    """A matrix that is orthogonalised separately: a parameter, or a part of one."""

    def __init__(self, parameter: nn.Parameter, layout: MatrixLayout, index: int) -> None:
        self.parameter, self._layout, self._index = parameter, layout, index
        self.matrix = self._part(parameter.detach())

    def _part(self, x: Tensor) -> Tensor:
        return x if self._layout is MATRIX else self._layout.blocks(x)[self._index]

    @property
    def gradient(self) -> Tensor:
        """The block's part of the gradient."""
        assert self.parameter.grad is not None, "a step needs gradients"
        return self._part(self.parameter.grad)


def blocks_of(parameter: nn.Parameter, layout: MatrixLayout) -> list[MuonMatrix]:
    count = 1 if layout is MATRIX else len(layout.blocks(parameter.detach()))
    return [MuonMatrix(parameter, layout, index) for index in range(count)]


class Muon(torch.optim.Optimizer):
    """Muon over matrices; those of one shape, transposed to be wide if need be, are orthogonalised
    together. State: stacked momenta, wide."""

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
            for block in blocks_of(parameter, layout):
                shapes[tuple(sorted(block.matrix.shape))].append(block)
        self.stacks = tuple(shapes.values())

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        muon_steps([self])

    def momentum(self, stack: list[MuonMatrix]) -> Tensor:  # (K, small, large)
        """The momentum buffer of a stack."""
        state, name = (
            self.state[stack[0].parameter],
            "momentum_buffer {}x{}".format(*sorted(stack[0].matrix.shape)),
        )
        if name not in state:
            state[name] = torch.stack([torch.zeros_like(lying(block.matrix)) for block in stack])
        buffer: Tensor = state[name]
        return buffer

    def mixed(self, stack: list[MuonMatrix], part: Sequence[int]) -> Tensor:  # (k, small, large)
        """Add the gradients of a part of a stack to its momentum; returns the matrices to
        orthogonalise."""
        gradients = torch.stack([lying(stack[i].gradient) for i in part])
        momenta = self.momentum(stack)
        if part[-1] - part[0] + 1 == len(part):
            return mixed_momentum(
                gradients, momenta[part[0] : part[-1] + 1], self.spec.momentum, self.spec.nesterov
            )
        buffer = momenta[list(part)]  # a copy
        mixed = mixed_momentum(gradients, buffer, self.spec.momentum, self.spec.nesterov)
        momenta[list(part)] = buffer
        return mixed

    def descend(self, matrices: list[Tensor], update: Tensor) -> None:
        """Decay with the scaled lr, then subtract lr x update scale x update."""
        lr, weight_decay = self.param_groups[0]["lr"], self.param_groups[0]["weight_decay"]
        torch._foreach_mul_(matrices, 1 - lr * weight_decay)
        for matrix, lain in zip(matrices, update.to(matrices[0].dtype), strict=True):
            matrix.add_(
                lain if lying(matrix) is matrix else lain.mT,
                alpha=-lr * mup.update_scale(self.spec, *matrix.shape),
            )


def lying(matrix: Tensor) -> Tensor:
    """The matrix, or its transpose, whichever has at least as many columns as rows."""
    return matrix.mT if matrix.shape[0] > matrix.shape[1] else matrix


@torch.no_grad()
def muon_steps(muons: Sequence[Muon]) -> None:
    """One step of each optimizer, for models of one shape: matrices of one shape are orthogonalised
    together across models."""
    spec = muons[0].spec
    for stacks in zip(*(muon.stacks for muon in muons), strict=True):
        first = stacks[0]
        matrix = first[0].matrix
        at_once = max(1, ELEMENTS_AT_ONCE[matrix.device.type] // (len(muons) * matrix.numel()))
        # without those of experts that saw no token
        moving = [i for i, block in enumerate(first) if block.parameter.grad is not None]
        for part in (moving[start : start + at_once] for start in range(0, len(moving), at_once)):
            # mixed: (P k, small, large)
            mixed = torch.cat(
                [muon.mixed(stack, part) for muon, stack in zip(muons, stacks, strict=True)]
            )
            updates = orthogonalize(
                mixed,
                spec.newton_schulz_steps,
                dtype=NEWTON_SCHULZ_DTYPES[spec.newton_schulz_dtype],
            )
            for muon, stack, update in zip(muons, stacks, updates.chunk(len(muons)), strict=True):
                muon.descend([stack[i].matrix for i in part], update)
