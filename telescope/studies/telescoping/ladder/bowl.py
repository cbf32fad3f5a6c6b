"""The form of the loss around its optimum, and its parameters over the widths of a ladder.

In octaves x of the hyperparameters (x_1 is the learning rate), and in % of the loss above the loss
at the optimum, at level i:

    optimum  x*_i = x_T + D W_i(phi) + e_i
             W runs from 1 at the base to 0 at the target, T doublings above it; phi = 0, 0.47, 1
             are drifts as a/n, n^-1/2 and a constant step per doubling
    bowl     f_i(x) = exp(d_i) A [B(v) + sum R_j u_j^2]
             u = x - x*_i,  v = u_1 + sum m_j u_j,  B a parabola with skew s; for weight decay u is
             `saturated`, since a small enough value is as good as 0

Parts: `ParameterSlots`, the layout of the parameters and their priors · `skewed`, `saturated`, the
forms of single terms · `bowl`, the form of the loss.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from telescope.statistics.estimates import Array

KNEE = (2.0, 3.0)  # octaves of weight decay's knee below its optimum: prior mean and sd
SKEW_LIMIT = 3.0  # s v beyond which the bowl continues in a straight line


@dataclass(frozen=True)
class ParameterSlots:
    """The layout of the parameter vector theta."""

    axes: int  # number of fitted hyperparameters
    heights: tuple[float, ...]  # doublings of each level's width above the base width
    doublings: float  # from the base width to the target
    saturating: tuple[int, ...] = ()  # axes on which a small enough value is as good as 0

    @property
    def levels(self) -> int:
        """Number of widths."""
        return len(self.heights)

    @cached_property
    def slots(self) -> dict[str, slice]:
        """The slice of theta that holds each parameter, by the names of the module's docstring."""
        k, rest, levels = self.axes, self.axes - 1, self.levels
        sizes = {
            "x": k,
            "drift": k,
            "log_a": 1,
            "skew": 1,
            "phi": 1,
            "cross": rest,
            "log_r": rest,
            "d": levels,
            "e": levels * k,
        }
        sizes["knee"] = len(self.saturating)
        starts = np.cumsum([0, *sizes.values()])
        return {
            name: slice(int(a), int(b))
            for name, a, b in zip(sizes, starts, starts[1:], strict=False)
        }

    @property
    def size(self) -> int:
        """Number of parameters."""
        return int(self.slots["knee"].stop)

    def prior(
        self, near: Sequence[float], phi: float = 0.35, phi_sd: float = 0.4
    ) -> tuple[Array, Array]:
        """Mean and precision [parameter] of the normal priors; the prior of x_T is almost flat
        around `near`.
        """
        mean, sd, at = np.zeros(self.size), np.full(self.size, np.inf), self.slots
        mean[at["x"]], sd[at["x"]] = near, 10.0
        sd[at["drift"]] = 1.5
        mean[at["log_a"]], sd[at["log_a"]] = np.log(0.5), 0.8
        mean[at["skew"]], sd[at["skew"]] = 0.65, 0.2
        mean[at["phi"]], sd[at["phi"]] = phi, phi_sd
        mean[at["cross"]], sd[at["cross"]] = 0.2, 0.2
        sd[at["d"]] = 0.15
        mean[at["log_r"]], sd[at["log_r"]] = -np.log(6.0), 0.6
        sd[at["e"]] = np.tile([0.05] + [0.10] * (self.axes - 1), self.levels)
        mean[at["knee"]], sd[at["knee"]] = KNEE
        return mean, sd**-2.0

    @cached_property
    def tracks(self) -> tuple[Array, Array]:
        """W_i [level] of the law a/n, and the term that phi multiplies, which leads towards a
        constant step per doubling.
        """
        t, i = self.doublings, np.array(self.heights)
        if t == 0:
            return np.zeros(self.levels), np.zeros(self.levels)
        inverse = (2.0**-i - 2.0**-t) / (1 - 2.0**-t)
        return inverse, (t - i) / t - inverse

    def optima(self, theta: Array) -> Array:
        """The optimum x*_i per level: [..., parameter] -> [..., level, axis]."""
        at, (inverse, towards_constant) = self.slots, self.tracks
        w = inverse + theta[..., at["phi"]] * towards_constant
        offsets = theta[..., at["e"]].reshape(*theta.shape[:-1], self.levels, self.axes)
        return theta[..., None, at["x"]] + theta[..., None, at["drift"]] * w[..., None] + offsets


def skewed(v: Array, s: Array) -> Array:
    """The skewed parabola B(v) = 2 (e^(sv) - 1 - sv) / s^2, which tends to v^2 as s -> 0; a
    straight line beyond sv = SKEW_LIMIT.
    """
    t = s * v
    inner = np.minimum(t, SKEW_LIMIT)
    small = np.abs(t) < 1e-3
    safe = np.where(small, 1.0, t)
    slope = np.expm1(SKEW_LIMIT)
    height = np.expm1(inner) - inner + slope * (t - inner)
    return v**2 * np.where(small, 1 + t / 3, 2 * height / safe**2)


def saturated(u: Array, knee: Array) -> Array:
    """Effective octaves from the optimum: u near the optimum, levelling off below a knee that lies
    `knee` octaves lower.
    """
    below = 2.0**-knee
    result: Array = (1 + below) * np.log2((2.0**u + below) / (1 + below))
    return result


def bowl(layout: ParameterSlots, theta: Array, level: NDArray[np.int64], x: Array) -> Array:
    """The bowl f_i(x) in % of the loss.

    Shapes: theta [..., parameter], level [run], x [run, axis] -> [..., run].
    """
    at = layout.slots
    u = x - layout.optima(theta)[..., level, :]
    for axis, slot in zip(layout.saturating, range(at["knee"].start, at["knee"].stop), strict=True):
        u[..., axis] = saturated(u[..., axis], theta[..., slot, None])
    v = u[..., 0] + (theta[..., None, at["cross"]] * u[..., 1:]).sum(-1)
    height = np.exp(theta[..., at["log_a"]] + theta[..., at["d"]][..., level])
    rest = (np.exp(theta[..., None, at["log_r"]]) * u[..., 1:] ** 2).sum(-1)
    result: Array = height * (skewed(v, theta[..., at["skew"]]) + rest)
    return result
