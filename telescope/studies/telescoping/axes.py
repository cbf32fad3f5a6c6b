"""The hyperparameters that can be swept, their scales, and the fields of a trial that they set.

All planning is in octaves: one octave is a factor of 2 in a hyperparameter. Planned values lie on
the *planning lattice*, the multiples of 1/64 octave (`telescope.trials.lattice`). Momentum is swept
in octaves of 1 - momentum, so that 0.9 lies as far from 0.95 as 0.95 does from 0.975; high momenta
therefore lie at low octaves. A *wall* is a limit beyond which no value may be tried: an end of the
user's range or, if the search may leave that range, an end of the scale (for the warm-up, the whole
run).

Parts: `AxisName` · `AxisScale` and `SCALES`, the table · `Axis`, a swept hyperparameter on the
planning lattice.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from telescope.trials.lattice import OCTAVE_PARTS, snap
from telescope.trials.types import OptimizerName

AxisName = Literal[
    "lr", "weight_decay", "adamw_lr_ratio", "momentum", "warmup_fraction", "init_scale"
]

MOST_FITTED = 5  # most fitted axes of a ladder


@dataclass(frozen=True)
class AxisScale:
    """A hyperparameter's scale: its conversion to octaves, its limits, and the field of a trial
    that it sets.
    """

    part: Literal["optimizer", "horizon"] = "optimizer"  # part of the spec with the field
    adamw_field: str = ""  # the field in an AdamW run, if it has another name
    complement: bool = False  # whether octaves are of 1 - value, so that high values lie low
    saturates: bool = False  # whether a small enough value is as good as 0
    lowest: float = -1000.0  # lowest octaves; floats end a little beyond them
    highest: float = 1000.0  # highest octaves

    def octaves(self, value: float) -> float:
        """The octaves of a value."""
        return math.log2(1 - value if self.complement else value)

    def value(self, octaves: float) -> float:
        """The value at these octaves, clipped to the scale's limits."""
        power: float = 2.0 ** min(max(octaves, self.lowest), self.highest)
        return 1 - power if self.complement else power


SCALES: Mapping[AxisName, AxisScale] = {
    "lr": AxisScale(),
    "weight_decay": AxisScale(saturates=True),
    "adamw_lr_ratio": AxisScale(),
    "momentum": AxisScale(adamw_field="beta1", complement=True, lowest=-16.0, highest=0.0),
    "warmup_fraction": AxisScale(part="horizon", highest=0.0),
    "init_scale": AxisScale(),
}
"""The scales by name, in the order of a ladder's axes: learning rate first."""


def field_of(name: AxisName, optimizer: OptimizerName) -> str:
    """The field of `OptimizerSpec` or `HorizonSpec` that an axis sets in an optimizer's runs."""
    return (SCALES[name].adamw_field if optimizer == "adamw" else "") or name


@dataclass(frozen=True)
class Axis:
    """A swept hyperparameter: the user's range in octaves, the number of points in the base grid,
    and whether the search may leave the range.
    """

    name: AxisName
    low: float
    high: float
    points: int
    extend: bool

    @classmethod
    def between(cls, name: AxisName, low: float, high: float, points: int, extend: bool) -> "Axis":
        """The axis between two values, its ends rounded inwards to the planning lattice."""
        lower_end, upper_end = sorted(map(SCALES[name].octaves, (low, high)))
        inward_low = math.ceil(lower_end * OCTAVE_PARTS - 1e-9) / OCTAVE_PARTS
        inward_high = math.floor(upper_end * OCTAVE_PARTS + 1e-9) / OCTAVE_PARTS
        return cls(name, inward_low, inward_high, points, extend)

    @property
    def scale(self) -> AxisScale:
        """The scale of the hyperparameter."""
        return SCALES[self.name]

    @property
    def step(self) -> float:
        """Octaves between points of the base grid; 0 for a single point."""
        return (self.high - self.low) / (self.points - 1) if self.points > 1 else 0.0

    @property
    def fitted(self) -> bool:
        """Whether the axis has three points or more, so that an optimum is fitted along it."""
        return self.points >= 3

    @cached_property
    def values(self) -> tuple[float, ...]:
        """The points of the base grid, in octaves, ascending."""
        return along((self.low + self.high) / 2, self.step, self.points)

    @property
    def walls(self) -> tuple[float, float]:
        """The lowest and the highest octaves that may be tried."""
        return (self.scale.lowest, self.scale.highest) if self.extend else (self.low, self.high)

    def clip(self, x: float) -> float:
        """The nearest lattice point between the walls."""
        low, high = self.walls
        return snap(min(max(x, low), high))

    def allows(self, x: float) -> bool:
        """Whether these octaves lie between the walls."""
        low, high = self.walls
        return low <= x <= high

    def inside(self, centre: float, half: float) -> float:
        """The point nearest to `centre` whose window, `half` octaves to each side, crosses no
        wall; the middle between the walls if the window does not fit between them.
        """
        low, high = self.walls
        return (
            (low + high) / 2 if high - low < 2 * half else min(max(centre, low + half), high - half)
        )

    def value(self, x: float) -> float:
        """The planned value, rounded to 12 significant digits so that no platform's last bit
        changes a digest.
        """
        return float(f"{self.scale.value(snap(x)):.12g}")

    def side(self, side: int) -> str:
        """The end of the values, `low` or `high`, at the low (-1) or high (+1) end in octaves."""
        return "low" if (side < 0) != self.scale.complement else "high"


def along(centre: float, step: float, points: int) -> tuple[float, ...]:
    """Points spaced by `step` octaves around a centre, rounded to the lattice."""
    return tuple(snap(centre + (i - (points - 1) / 2) * step) for i in range(points))
