"""The matrices that a parameter holds.

Muon orthogonalises matrices of (fan_out, fan_in), and a parameter need not be one: a convolution is
one after flattening, a stack of experts is many, a fused query-key-value projection is three, or
one per head; some libraries store (fan_in, fan_out). A `MatrixLayout` describes how a parameter is
viewed as matrices; its `blocks` are views, so writing into them writes into the parameter.

The factor on an update follows from the shape of the block that was orthogonalised
(telescope.parametrisation.mup), not from the shape of the parameter.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class MatrixLayout:
    """Which dimensions of a parameter form fan_out, which form fan_in, and which index separate
    matrices; and how fan_out is split."""

    rows: tuple[int, ...] = (0,)  # fan_out
    columns: tuple[int, ...] = (1,)  # fan_in
    stack: tuple[int, ...] = ()  # dimensions that index separate matrices
    # relative sizes of the parts of fan_out: (4, 1, 1) is a query four times as large as key and
    # value
    parts: tuple[int, ...] = ()
    block_rows: int | None = None  # rows of fan_out in a block, for instance the size of a head

    def matrices(self, x: Tensor) -> Tensor:
        """A view of the parameter as matrices: (K, fan_out, fan_in). Raises RuntimeError if torch
        has no such view."""
        groups = (self.stack, self.rows, self.columns)
        sizes = [math.prod(x.shape[d] for d in dimensions) for dimensions in groups]
        return x.permute(*self.stack, *self.rows, *self.columns).view(sizes)

    def blocks(self, x: Tensor) -> list[Tensor]:
        """Views of (rows, fan_in), each of which is orthogonalised separately."""
        return [
            block
            for matrix in self.matrices(x).unbind()
            for block in torch.split(matrix, self._heights(matrix.shape[0]))
        ]

    def _heights(self, rows: int) -> list[int]:
        if self.block_rows is not None:
            return [self.block_rows] * (rows // self.block_rows)
        unit = rows // sum(self.parts or (1,))
        return [unit * part for part in self.parts or (1,)]

    def problem(self, shape: Sequence[int]) -> str | None:
        """The reason why a parameter of this shape cannot be split like this, or None."""
        rows = math.prod(shape[d] for d in self.rows)
        if rows % (self.block_rows or sum(self.parts or (1,))) == 0:
            return None
        if self.block_rows:
            return f"{rows} rows cannot be split into blocks of {self.block_rows}"
        sizes = ":".join(map(str, self.parts))
        return f"{rows} rows cannot be split into parts of sizes {sizes}"


MATRIX = MatrixLayout()
"""The layout of torch's Linear: (fan_out, fan_in)."""
