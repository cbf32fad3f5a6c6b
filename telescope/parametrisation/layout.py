"""The matrices that a parameter holds.

Muon orthogonalises (fan_out, fan_in) matrices, but a parameter need not be such a matrix: a
convolution becomes a matrix when it is flattened, a stack of experts holds a matrix per expert, a
fused query-key-value projection holds three matrices or one per head, and some libraries store
(fan_in, fan_out). A `MatrixLayout` describes how to view a parameter as matrices and how to cut
these matrices into pieces. All results are views: writing into them changes the parameter.

The factor on an update depends on the shape of the piece that was orthogonalised
(telescope.parametrisation.mup), not on the shape of the parameter.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class MatrixLayout:
    """Which dimensions of a parameter form fan_out, which form fan_in, and which index separate
    matrices; and how each matrix is cut into pieces."""

    rows: tuple[int, ...] = (0,)  # dimensions that form fan_out
    columns: tuple[int, ...] = (1,)  # dimensions that form fan_in
    stack: tuple[int, ...] = ()  # dimensions that index separate matrices
    # relative numbers of rows of the pieces: with (4, 1, 1), the query has four times as many rows
    # as the key and the value; with (), each matrix is one piece
    parts: tuple[int, ...] = ()
    # rows of each piece if all are equal, for instance the size of a head; overrides `parts`
    block_rows: int | None = None

    def matrices(self, x: Tensor) -> Tensor:
        """The parameter `x` viewed as matrices: (matrices, fan_out, fan_in). Raises RuntimeError if
        torch has no such view."""
        groups = (self.stack, self.rows, self.columns)
        sizes = [math.prod(x.shape[d] for d in dimensions) for dimensions in groups]
        return x.permute(*self.stack, *self.rows, *self.columns).view(sizes)

    def blocks(self, x: Tensor) -> list[Tensor]:
        """Views (rows, fan_in) of the pieces, which Muon orthogonalises separately."""
        return [
            piece
            for matrix in self.matrices(x).unbind()
            for piece in torch.split(matrix, self._heights(matrix.shape[0]))
        ]

    def _heights(self, rows: int) -> list[int]:
        if self.block_rows is not None:
            return [self.block_rows] * (rows // self.block_rows)
        unit = rows // sum(self.parts or (1,))
        return [unit * part for part in self.parts or (1,)]

    def problem(self, shape: Sequence[int]) -> str | None:
        """The reason why a parameter of this shape cannot be cut into such pieces, or None."""
        rows = math.prod(shape[d] for d in self.rows)
        if rows % (self.block_rows or sum(self.parts or (1,))) == 0:
            return None
        if self.block_rows:
            return f"{rows} rows cannot be split into pieces of {self.block_rows} rows"
        sizes = ":".join(map(str, self.parts))
        return f"{rows} rows cannot be split into parts of sizes {sizes}"


MATRIX = MatrixLayout()
"""The layout of torch's Linear: (fan_out, fan_in)."""
