"""The hyperparameters that can be swept, their scales, and the fields of a trial that they set.

All planning is in octaves: a factor of 2 for scale parameters. Momentum is swept in octaves of
1 - momentum, since 0.9 lies as far from 0.95 as 0.95 from 0.975, which reverses its order. Warm-up
is swept in octaves of its fraction. Values that do not exist (a warm-up beyond the whole run) lie
behind a wall, whatever the user allows.

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

MOST_FITTED = 5  # axes of one ladder


@dataclass(frozen=True)
class AxisScale:
    """A hyperparameter's scale: octaves of its values, their limits, and the field that they
    set.
    """

    part: Literal["optimizer", "horizon"] = "optimizer"
    adamw_field: str = ""  # the field in an AdamW run, where it differs
    complement: bool = False  # octaves of 1 - value, so high values lie low
    saturates: bool = False  # a small enough value is as good as 0
    lowest: float = -1000.0  # octaves; floats end a little beyond
    highest: float = 1000.0

    def octaves(self, value: float) -> float:
        """The octaves of a value."""
        return math.log2(1 - value if self.complement else value)

    def value(self, octaves: float) -> float:
        """The value at some octaves, clipped to the scale's limits."""
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
"""The scales in the order of a ladder's axes, learning rate first."""


def field_of(name: AxisName, optimizer: OptimizerName) -> str:
    """The field of the optimizer's or the horizon's spec that an axis sets."""
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
        """The axis of a range of values, with its ends moved inwards to the lattice."""
        least, most = sorted(map(SCALES[name].octaves, (low, high)))
        inward_low = math.ceil(least * OCTAVE_PARTS - 1e-9) / OCTAVE_PARTS
        inward_high = math.floor(most * OCTAVE_PARTS + 1e-9) / OCTAVE_PARTS
        return cls(name, inward_low, inward_high, points, extend)

    @property
    def scale(self) -> AxisScale:
        """The scale of its values."""
        return SCALES[self.name]

    @property
    def step(self) -> float:
        """Octaves between points of the base grid; 0 for a single point."""
        return (self.high - self.low) / (self.points - 1) if self.points > 1 else 0.0

    @property
    def fitted(self) -> bool:
        """Whether it has three points or more; with fewer, values are compared but not fitted."""
        return self.points >= 3

    @cached_property
    def values(self) -> tuple[float, ...]:
        """The base grid."""
        return along((self.low + self.high) / 2, self.step, self.points)

    @property
    def walls(self) -> tuple[float, float]:
        """The lowest and the highest octaves that may be tried."""
        return (self.scale.lowest, self.scale.highest) if self.extend else (self.low, self.high)

    def clip(self, x: float) -> float:
        """The nearest octaves on the lattice that may be tried."""
        low, high = self.walls
        return snap(min(max(x, low), high))

    def allows(self, x: float) -> bool:
        """Whether these octaves may be tried."""
        low, high = self.walls
        return low <= x <= high

    def inside(self, centre: float, half: float) -> float:
        """The nearest centre whose window, `half` to each side, crosses no wall; the middle between
        the walls where they leave too little room.
        """
        low, high = self.walls
        return (
            (low + high) / 2 if high - low < 2 * half else min(max(centre, low + half), high - half)
        )

    def value(self, x: float) -> float:
        """The planned value, rounded to 12 digits so that no platform's last bit changes a
        digest.
        """
        return float(f"{self.scale.value(snap(x)):.12g}")

    def side(self, side: int) -> str:
        """The end of the values, low or high, that lies on a side of the octaves, -1 or +1."""
        return "low" if (side < 0) != self.scale.complement else "high"


def along(centre: float, step: float, points: int) -> tuple[float, ...]:
    """Points spaced by `step` around a centre, on the lattice."""
    return tuple(snap(centre + (i - (points - 1) / 2) * step) for i in range(points))
