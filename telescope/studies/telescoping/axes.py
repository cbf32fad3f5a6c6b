"""The hyperparameters that can be swept, their scales, and the fields of a trial that they set.

Hyperparameters are planned in octaves. One octave is a factor of 2, so the octaves of a value are
its log2. Planned octaves are multiples of 1/64; these multiples form the *planning lattice*
(`telescope.trials.lattice`). Momentum is planned by the octaves of 1 - momentum, so that 0.9 lies
as far from 0.95 as 0.95 lies from 0.975. Therefore high momenta lie at low octaves.

An *axis* is a swept hyperparameter. A *wall* of an axis is a limit beyond which no value may be
tried. If the search may not leave the user's range, the walls are the ends of this range.
Otherwise they are the ends of the hyperparameter's scale. For example, the scale of the warm-up
ends at 1, a warm-up as long as the run. The *base grid* is the grid of values over the user's
ranges. The search starts at the narrowest width, with the base grid or with scattered points in its
place.
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

MOST_FITTED = 5  # largest number of axes with three values or more, for one optimizer


@dataclass(frozen=True)
class AxisScale:
    """A hyperparameter's scale: its conversion to octaves, its limits, and the field of a trial
    that the hyperparameter sets.
    """

    # the section of a trial's specification that contains the field
    part: Literal["optimizer", "horizon"] = "optimizer"
    adamw_field: str = ""  # the field's name in an AdamW run; if empty, the hyperparameter's name
    # whether octaves are the log2 of 1 - value, so that high values lie at low octaves
    complement: bool = False
    saturates: bool = False  # whether a small enough value is as good as 0
    # lowest and highest octaves; by default a little within the range of floating-point numbers
    lowest: float = -1000.0
    highest: float = 1000.0

    def octaves(self, value: float) -> float:
        """The octaves of a value."""
        return math.log2(1 - value if self.complement else value)

    def value(self, octaves: float) -> float:
        """The value at `octaves`, after the octaves are clipped to the scale's limits."""
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
"""The scales by name. The axes of a search have the same order."""


def field_of(name: AxisName, optimizer: OptimizerName) -> str:
    """The field of a trial's `OptimizerSpec` or `HorizonSpec` that a hyperparameter sets in this
    optimizer's runs.
    """
    return (SCALES[name].adamw_field if optimizer == "adamw" else "") or name


@dataclass(frozen=True)
class Axis:
    """A swept hyperparameter: the ends of the user's range in octaves (`low`, `high`), the number
    of values in the base grid (`points`), and whether the search may leave the range (`extend`).
    """

    name: AxisName
    low: float
    high: float
    points: int
    extend: bool

    @classmethod
    def between(cls, name: AxisName, low: float, high: float, points: int, extend: bool) -> "Axis":
        """The axis between two values. Its ends are rounded inwards to the planning lattice."""
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
        """Octaves between neighbouring values in the base grid, before they are rounded to the
        lattice; 0 for a single value.
        """
        return (self.high - self.low) / (self.points - 1) if self.points > 1 else 0.0

    @property
    def fitted(self) -> bool:
        """Whether the axis has three values or more, so that an optimum is fitted along it."""
        return self.points >= 3

    @cached_property
    def values(self) -> tuple[float, ...]:
        """The values in the base grid, in octaves, ascending."""
        return along((self.low + self.high) / 2, self.step, self.points)

    @property
    def walls(self) -> tuple[float, float]:
        """The lowest and the highest octaves that may be tried."""
        return (self.scale.lowest, self.scale.highest) if self.extend else (self.low, self.high)

    def clip(self, x: float) -> float:
        """The octaves `x`, clipped to the walls and rounded to the lattice."""
        low, high = self.walls
        return snap(min(max(x, low), high))

    def allows(self, x: float) -> bool:
        """Whether these octaves lie between the walls."""
        low, high = self.walls
        return low <= x <= high

    def inside(self, centre: float, half: float) -> float:
        """The centre of a window that crosses no wall, as near to `centre` as possible. The window
        extends `half` octaves to each side of its centre. If the window does not fit between the
        walls, its centre is the middle between the walls.
        """
        low, high = self.walls
        return (
            (low + high) / 2 if high - low < 2 * half else min(max(centre, low + half), high - half)
        )

    def value(self, x: float) -> float:
        """The value at `x`, where `x` is first rounded to the lattice. The value is rounded to 12
        significant digits, since its last bit may differ between platforms.
        """
        return float(f"{self.scale.value(snap(x)):.12g}")

    def side(self, side: int) -> str:
        """The name of a side of the axis, by its values: `low` or `high`. Side -1 has the low
        octaves, and side +1 has the high octaves.
        """
        return "low" if (side < 0) != self.scale.complement else "high"


def along(centre: float, step: float, points: int) -> tuple[float, ...]:
    """This many `points` around a centre, `step` octaves apart and then rounded to the lattice."""
    return tuple(snap(centre + (i - (points - 1) / 2) * step) for i in range(points))
