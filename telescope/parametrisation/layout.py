"""Which matrices does a parameter hold?

Muon orthogonalises matrices of (fan_out, fan_in), and a parameter need not be one: a convolution is
one after flattening, a stack of experts is many, a fused query-key-value projection is three, or
one per head; some libraries store (fan_in, fan_out). A `Layout` says how to look at it; `blocks`
are views, so what is written into them is written into the parameter.

The factor on an update follows from the shape of the block that was orthogonalised
(telescope.parametrisation.mup), not from the parameter's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """Which dimensions of a parameter are fan_out, which fan_in, and which count separate matrices;
    how fan_out is cut up."""

    rows: tuple[int, ...] = (0,)  # fan_out
    columns: tuple[int, ...] = (1,)  # fan_in
    stack: tuple[int, ...] = ()
    # of fan_out, relative sizes: (4, 1, 1) is a query four times as large as key and value
    parts: tuple[int, ...] = ()
    block_rows: int | None = None  # of fan_out, that make a block, such as the size of a head

    def matrices(self, x: Tensor) -> Tensor:
        """All of it: (K, fan_out, fan_in), a view. Raises RuntimeError where there is no such
        view."""
        sizes = [
            math.prod(x.shape[d] for d in dims) for dims in (self.stack, self.rows, self.columns)
        ]
        return x.permute(*self.stack, *self.rows, *self.columns).view(sizes)

    def blocks(self, x: Tensor) -> list[Tensor]:
        """Views of (rows, fan_in), those that are orthogonalised each by itself."""
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
        """Why a parameter of this shape cannot be cut up so, or None."""
        rows = math.prod(shape[d] for d in self.rows)
        if rows % (self.block_rows or sum(self.parts or (1,))) == 0:
            return None
        cut = (
            f"blocks of {self.block_rows}"
            if self.block_rows
            else f"parts of sizes {':'.join(map(str, self.parts))}"
        )
        return f"{rows} rows cannot be cut into {cut}"


MATRIX = Layout()
"""As torch's Linear has it."""
