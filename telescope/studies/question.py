"""What may a user ask of a telescoping study? The parts of its document, typed and bounded."""

import math
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from telescope.spec import STRICT, Architecture, Count, ModelSpec, NonNegative, Positive
from telescope.studies import paper

Width = Annotated[int, Field(ge=1, le=2**20)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LadderModel(Architecture):
    """The model at all its widths: swept from base to calibration width, doubling, and wanted at the target."""

    base_width: Width
    calibration_width: Width
    target_width: Width

    def at(self, width: int) -> ModelSpec:
        """The model of one width."""
        shared = {name: getattr(self, name) for name in Architecture.__dataclass_fields__}
        return ModelSpec(width=width, base_width=self.base_width, **shared)

    @property
    def widths(self) -> tuple[int, ...]:
        """The widths that are trained: base, doubled up to calibration."""
        doublings = round(math.log2(self.calibration_width / self.base_width))
        return tuple(self.base_width * 2**i for i in range(doublings + 1))


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Range:
    """The values of one hyperparameter to look among, evenly on a log scale."""

    low: Positive
    high: Positive
    points: Count
    """Points of the base grid; 1 or 2 are compared but not fitted."""
    extend: bool = True
    """Whether the search may leave the range where the optimum lies at its border; false makes the range a wall."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Search:
    """What is swept; a plain number holds a hyperparameter fixed."""

    lr: Range
    weight_decay: Range | NonNegative = 0.1
    adamw_lr_ratio: Range | None = None
    """Muon's ladder only: AdamW's base lr over Muon's."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PaperOptions:
    """What the published rule leaves open."""

    points: paper.Rounding = "strict"
    """strict: points per hyperparameter rounded half up (8, 4, 2, 1); paper: up to odd numbers (8, 5, 3, 1)."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Limits:
    """Where to stop, resolved or not; shared out evenly where there are several ladders."""

    max_parallel: Count | None = None
    """Trials that run at once."""
    max_trials: Count = 400
    max_base_runs: Positive | None = None
    """What `robust` may spend per ladder, in runs at the base width; by default points^k x levels, and 1.5 x its first four rounds."""
    max_flops: Positive | None = None
    max_seconds: Positive | None = None
    """Of the whole job; when they have passed, no new stage begins."""
