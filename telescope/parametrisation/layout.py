"""The matrices that a parameter holds.

Muon orthogonalises matrices of shape (fan_out, fan_in), but some parameters are not such a matrix.
The weight of a convolution becomes a matrix when it is flattened. A stack of experts holds one
matrix for each expert. A fused query-key-value projection holds several matrices. Some libraries
store a matrix as (fan_in, fan_out). A `MatrixLayout` describes how to view a parameter as matrices
and how to cut these matrices into pieces. The pieces are views: writing into a piece changes the
parameter.

Muon's factor on an update depends on the shape of the piece that was orthogonalised
(telescope.parametrisation.mup), not on the shape of the parameter.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class MatrixLayout:
    """How a parameter is viewed as matrices, and how each matrix is cut into pieces.

    Each dimension of the parameter is in exactly one of `rows`, `columns` and `stack`.
    """

    rows: tuple[int, ...] = (0,)  # dimensions that form fan_out
    columns: tuple[int, ...] = (1,)  # dimensions that form fan_in
    stack: tuple[int, ...] = ()  # dimensions that index separate matrices
    # Relative numbers of rows of the pieces of a matrix. In a fused query-key-value projection with
    # (4, 1, 1), the query has four times as many rows as the key. With (), a matrix is one piece.
    parts: tuple[int, ...] = ()
    # Number of rows of a piece, such as the size of a head. If this number is given, `parts` is
    # ignored.
    block_rows: int | None = None

    def matrices(self, x: Tensor) -> Tensor:
        """A view of the parameter `x` as matrices: (matrices, fan_out, fan_in). Raises RuntimeError
        if torch would have to copy `x`."""
        groups = (self.stack, self.rows, self.columns)
        sizes = [math.prod(x.shape[d] for d in dimensions) for dimensions in groups]
        return x.permute(*self.stack, *self.rows, *self.columns).view(sizes)

    def blocks(self, x: Tensor) -> list[Tensor]:
        """The pieces of all matrices of the parameter `x`, as views of shape (rows, fan_in). Muon
        orthogonalises each piece separately."""
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
        """The reason why a parameter of this shape cannot be cut into the layout's pieces. None if
        it can be cut."""
        rows = math.prod(shape[d] for d in self.rows)
        if rows % (self.block_rows or sum(self.parts or (1,))) == 0:
            return None
        if self.block_rows:
            return f"{rows} rows cannot be split into pieces of {self.block_rows} rows"
        sizes = ":".join(map(str, self.parts))
        return f"{rows} rows cannot be split into parts of relative sizes {sizes}"


MATRIX = MatrixLayout()
"""The layout of torch's Linear: (fan_out, fan_in)."""
