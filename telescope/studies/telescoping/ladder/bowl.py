"""The statistical model of the loss around its optimum, at all widths of a ladder.

A *ladder* searches the hyperparameters of one optimizer at increasing widths, its *levels*. Level 0
is the base width. An *axis* is a hyperparameter that the loss is modelled along, in octaves
(factors of 2). The *target* is the width for which hyperparameters are wanted. Let x be the
position of a run on all axes; its first component, x_1, is the learning rate.

    optimum  x*_i = x_T + D W_i + e_i
             x_T   the optimum at the target
             D     the optimum at the base width minus the optimum at the target
             W_i   the share of D that remains at level i: 1 at the base width, 0 at the target
             phi   a parameter of W. It selects the *drift law*, by which the optimum moves with
                   width n: 0 for a/n, 0.47 for nearly a/sqrt(n), and 1 for a constant shift per
                   doubling. Here a is a constant.
             e_i   the deviation of level i from the drift law
    bowl     f_i(x) = A exp(d_i) [B(v) + sum_j R_j u_j^2]
             f_i   the loss at x minus the loss at the optimum, in % of the loss
             u     the difference x - x*_i, in octaves. For weight decay, u is the function
                   `saturated` of this difference, since a small enough weight decay is as good
                   as 0.
             v     u_1 + sum_j m_j u_j
             j     an axis other than the learning rate; sums run over all such axes
             m_j   the coupling between axis j and the learning rate
             A     the curvature along the learning rate
             d_i   the deviation of log A at level i
             R_j   the curvature along axis j, divided by A
             B     a parabola with skew s, defined by the function `skewed`
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from telescope.statistics.estimates import Array

# prior mean and standard deviation of the distance, in octaves, from the optimal weight decay down
# to the *knee*; below the knee, a lower weight decay hardly changes the loss
KNEE = (2.0, 3.0)
SKEW_LIMIT = 3.0  # value of s v beyond which B continues as a straight line


@dataclass(frozen=True)
class ParameterSlots:
    """The places of the model's parameters in the vector theta, and the parameters' priors."""

    axes: int  # number of fitted hyperparameters
    level_doublings: tuple[float, ...]  # doublings from the base width to each level's width
    doublings: float  # doublings of the width from base to target
    saturating: tuple[int, ...] = ()  # axes on which a small enough value is as good as 0

    @property
    def levels(self) -> int:
        """Number of levels."""
        return len(self.level_doublings)

    @cached_property
    def slots(self) -> dict[str, slice]:
        """The slice of theta for each parameter, by name. Some names differ from the symbols in the
        formulas of this module: `x` (x_T), `drift` (D), `log_a` (log A), `skew` (s), `cross` (m)
        and `log_r` (log R). `knee` is the distance from the optimum down to the knee, for each
        saturating axis.
        """
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
        """Number of parameters in theta."""
        return int(self.slots["knee"].stop)

    def prior(
        self, near: Sequence[float], phi: float = 0.35, phi_sd: float = 0.4
    ) -> tuple[Array, Array]:
        """Mean [parameter] and precision [parameter] of the normal priors.

        The prior of x_T is centred on `near` and almost flat, with a standard deviation of 10
        octaves. The prior of phi has mean `phi` and standard deviation `phi_sd`.
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
        """Two arrays [level]. W is the first array plus phi times the second.

        The first array is W under the law a/n. The second array is the difference of two versions
        of W: under a constant shift per doubling, minus under the law a/n. If the target is the
        base width, both arrays are zero.
        """
        t, i = self.doublings, np.array(self.level_doublings)
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
    """The skewed parabola B, as a function of v and the skew s:

        B(v) = 2 (e^(sv) - 1 - sv) / s^2

    B(v) tends to v^2 as s tends to 0. Where sv exceeds SKEW_LIMIT, B continues as a straight line.
    """
    t = s * v
    inner = np.minimum(t, SKEW_LIMIT)
    small = np.abs(t) < 1e-3
    safe = np.where(small, 1.0, t)
    slope = np.expm1(SKEW_LIMIT)
    height = np.expm1(inner) - inner + slope * (t - inner)
    return v**2 * np.where(small, 1 + t / 3, 2 * height / safe**2)


def saturated(u: Array, knee: Array) -> Array:
    """The effective difference from the optimum, in octaves, on an axis where a small enough value
    is as good as 0. `u` is the actual difference. The knee lies `knee` octaves below the optimum.
    Near the optimum the result is close to u. Far below the knee the result is almost constant.
    """
    below = 2.0**-knee
    result: Array = (1 + below) * np.log2((2.0**u + below) / (1 + below))
    return result


def bowl(layout: ParameterSlots, theta: Array, level: NDArray[np.int64], x: Array) -> Array:
    """The height f_i(x) of the bowl, in % of the loss.

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
