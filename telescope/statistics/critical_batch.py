"""The batch size up to which tokens to a loss stay the same, and their rise beyond it.

Two forms of T_L(B), fitted side by side to the settled batches of an optimizer
(`telescope.statistics.batch_readings`); every run is an observation of log T, all with the same
variance:

    piecewise    T = T_min max(1, B / B*)^(1 + s)
                 log S = -log B + b1 up to B*, of slope s above, -1 < s < 0
    smooth       T = T_min (1 + B / B_crit)
                 (S/S_min - 1)(E/E_min - 1) = 1, with E = T

The first form is from arXiv 2505.02222, appendix F, the second from McCandlish et al., arXiv
1812.06162.

The token-optimal batch is the paper's largest B with T(B) = min T (equation 6), with a tolerance,
since measured tokens never repeat: the largest B at which the *piecewise law* needs at most (1 +
TOLERANCE) times its minimum over the range that was run. Inside that range it is B* (1 +
TOLERANCE)^(1 / (1 + s)); beyond the largest batch it is inf.

Intervals are profile likelihood intervals: they cover all parameters whose squared error exceeds
the minimum by no more than variance x t^2, and every quantity computed from these. The variance is
that of seeds and misfit together. If the misfit is larger than seeds explain (the law does not
hold, or the hyperparameters of some batches are less well tuned), it is that of the misfit alone,
each batch being one observation. An interval without an end inside the batches that were run
extends to 0 or inf.

Parts: `Observations` · `piecewise` -> `Piecewise`, `critical_batch` · `smooth` -> `Smooth`; all
None with fewer than three settled batches.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import fdtrc

from telescope.statistics.batch_readings import Pooled, Readings, exponential, half_width
from telescope.statistics.estimates import Array, Estimate

TOLERANCE = 0.02  # share of the fewest tokens by which a token-optimal batch may exceed them
FEWEST_BATCHES = 3  # the number of parameters of the piecewise law
PER_OCTAVE = 1024  # candidates for a critical batch
DOUBTFUL = 0.1  # p-value below which a misfit is more than the noise of seeds
BEYOND = 10  # octaves beyond either end of the batches in which B_crit may lie


@dataclass(frozen=True, eq=False)
class Observations:
    """Mean log tokens of each settled batch."""

    x: Array  # [batch], log batch_tokens
    y: Array  # [batch], mean log tokens
    runs: Array  # [batch]
    squares: float  # of the runs about their means

    @classmethod
    def of(cls, readings: Readings) -> "Observations":
        pooled = Pooled.of(readings.settled)
        kept = pooled.counts > 0
        return cls(
            np.log(readings.batch_tokens[kept]),
            pooled.means[kept],
            pooled.counts[kept],
            pooled.squares,
        )

    def without(self, batch: int) -> "Observations":
        """All batches but one; the spread of runs stays the same."""
        return replace(
            self,
            x=np.delete(self.x, batch),
            y=np.delete(self.y, batch),
            runs=np.delete(self.runs, batch),
        )

    def centred(self, values: Array) -> Array:
        """The values minus their mean over runs: [..., batch]."""
        result: Array = values - (values @ self.runs / self.runs.sum())[..., None]
        return result

    def tolerated(self, misfit: float, parameters: int) -> float:
        """The excess over the least squared error that a 90 % interval allows."""
        squares, dof, p = (
            self.squares + misfit,
            int(self.runs.sum()) - parameters,
            self.p_of(misfit, parameters),
        )
        if p is not None and p < DOUBTFUL:
            squares, dof = misfit, len(self.x) - parameters
        return half_width(squares / dof, dof) ** 2 if dof > 0 else math.inf

    def p_of(self, misfit: float, parameters: int) -> float | None:
        """p-value of a misfit this large from seeds alone, by an F test; None if seeds cannot
        tell."""
        free, within = len(self.x) - parameters, int(self.runs.sum()) - len(self.x)
        if free < 1 or within < 1 or self.squares == 0:
            return None
        return float(fdtrc(free, within, misfit / free / (self.squares / within)))


def places_between(low: float, high: float) -> Array:
    """Candidates for a critical batch, in log batch."""
    return np.linspace(low, high, math.ceil((high - low) / math.log(2) * PER_OCTAVE) + 1)


@dataclass(frozen=True)
class Form:
    """Properties that both forms have; residuals are of log tokens, by batch."""

    critical_batch: Estimate
    fewest_tokens: float  # T_min
    residuals: tuple[float, ...]
    p_of_misfit: float | None  # small if the form does not hold

    @property
    def residual_percent(self) -> float:
        """Root mean square of the residuals, in % of the tokens."""
        return 100 * math.sqrt(math.fsum(r * r for r in self.residuals) / len(self.residuals))


@dataclass(frozen=True)
class Piecewise(Form):
    """The law of appendix F; its critical batch is inf if it lies beyond all batches that were
    run."""

    slope: Estimate  # s of log steps
    token_optimal_batch: Estimate
    # critical batch with each batch left out in turn; empty if too few would be left
    left_out: tuple[float, ...]


@dataclass(frozen=True)
class Smooth(Form):
    """The form of McCandlish et al."""

    @property
    def fewest_steps(self) -> float:
        """S_min: the limit for infinite batches."""
        return self.fewest_tokens / self.critical_batch.value


@dataclass(frozen=True, eq=False)
class Hinges:
    """The best rise for each place of the hinge: T = T_min max(1, B / e^knot)^rise, rise = 1 + s
    from 0 to 1."""

    knots: Array  # [knot]
    rises: Array
    errors: Array  # squared
    free_rises: Array  # without the bounds
    free_errors: Array
    stiffness: Array  # growth of the squared error with the square of the rise's deviation

    @classmethod
    def of(cls, seen: Observations) -> "Hinges":
        """All hinges between the smallest and the largest batch."""
        knots = places_between(seen.x[0], seen.x[-1])
        z, y = seen.centred(np.maximum(seen.x - knots[:, None], 0)), seen.centred(seen.y)
        stiffness, total = z**2 @ seen.runs, float(seen.runs @ y**2)
        moment = z @ (seen.runs * y)
        free = np.where(stiffness > 0, moment / np.where(stiffness > 0, stiffness, 1), 0)
        rises = free.clip(0, 1)
        free_errors = np.maximum(total - free * moment, 0)
        return cls(
            knots,
            rises,
            free_errors + stiffness * (rises - free) ** 2,
            free,
            free_errors,
            stiffness,
        )

    @property
    def best(self) -> int:
        """Index of the best place; the largest if several are equally good."""
        return int(np.flatnonzero(self.errors <= self.errors.min() * (1 + 1e-12))[-1])

    @property
    def critical(self) -> float:
        """log B*; inf if no rise is seen."""
        return float(self.knots[self.best]) if self.rises[self.best] > 0 else math.inf

    def region(self, limit: float) -> tuple[Array, Array, Array]:
        """Knots with an error below a limit, and the lowest and highest rise that each allows."""
        inside = self.errors <= limit
        # without any rise at the last knot, every rise is allowed
        stiffness = np.maximum(self.stiffness[inside], 1e-300)
        reach = np.sqrt(np.maximum(limit - self.free_errors[inside], 0) / stiffness)
        return (
            self.knots[inside],
            (self.free_rises[inside] - reach).clip(0, 1),
            (self.free_rises[inside] + reach).clip(0, 1),
        )


def token_optimal(hinges: Hinges, limit: float, tolerance: float) -> Estimate:
    """log B_tok, and its least and greatest value among all hinges with an error below a limit."""
    largest, allowance, rise = (
        float(hinges.knots[-1]),
        math.log1p(tolerance),
        float(hinges.rises[hinges.best]),
    )
    knots, lows, highs = hinges.region(limit)
    with np.errstate(divide="ignore"):  # without a rise it lies beyond all batches
        low, high = (
            float((knots + allowance / highs).min()),
            float((knots + allowance / lows).max()),
        )
    value = hinges.critical + allowance / rise if rise > 0 else math.inf
    return Estimate(
        value if value <= largest else math.inf,
        min(low, largest),
        high if high <= largest else math.inf,
    )


def piecewise(readings: Readings, tolerance: float = TOLERANCE) -> Piecewise | None:
    """The law of appendix F; `tolerance`, above 0, is that of B_tok. None with too few settled
    batches."""
    seen = Observations.of(readings)
    if len(seen.x) < FEWEST_BATCHES:
        return None
    hinges = Hinges.of(seen)
    knot, rise, error = (
        float(of[hinges.best]) for of in (hinges.knots, hinges.rises, hinges.errors)
    )
    fitted = rise * np.maximum(seen.x - knot, 0)
    level = float(seen.runs @ (seen.y - fitted) / seen.runs.sum())
    limit = error + seen.tolerated(error, parameters=3)
    knots, lows, highs = hinges.region(limit)
    ends = (
        -math.inf if knots[0] <= seen.x[0] else float(knots[0]),
        math.inf if knots[-1] >= seen.x[-1] else float(knots[-1]),
    )
    others = (
        [Hinges.of(seen.without(i)) for i in range(len(seen.x))]
        if len(seen.x) > FEWEST_BATCHES
        else []
    )
    return Piecewise(
        critical_batch=exponential(Estimate(hinges.critical, *ends)),
        fewest_tokens=math.exp(level),
        residuals=tuple((seen.y - level - fitted).tolist()),
        p_of_misfit=seen.p_of(error, parameters=3),
        slope=Estimate(rise - 1, float(lows.min()) - 1, float(highs.max()) - 1),
        token_optimal_batch=exponential(token_optimal(hinges, limit, tolerance)),
        left_out=tuple(float(np.exp(other.critical)) for other in others),
    )


def critical_batch(readings: Readings) -> float | None:
    """The critical batch of the piecewise law without its interval: inf beyond all batches, None
    with too few of them."""
    seen = Observations.of(readings)
    return float(np.exp(Hinges.of(seen).critical)) if len(seen.x) >= FEWEST_BATCHES else None


def smooth(readings: Readings) -> Smooth | None:
    """The form of McCandlish et al.; None with too few settled batches."""
    seen = Observations.of(readings)
    if len(seen.x) < FEWEST_BATCHES:
        return None
    margin = BEYOND * math.log(2)
    places = places_between(seen.x[0] - margin, seen.x[-1] + margin)
    z = np.log1p(np.exp(seen.x - places[:, None]))
    errors = seen.centred(seen.y - z) ** 2 @ seen.runs
    best = int(errors.argmin())
    inside = np.flatnonzero(
        errors <= errors[best] + seen.tolerated(float(errors[best]), parameters=2)
    )
    ends = (
        -math.inf if inside[0] == 0 else places[inside[0]],
        math.inf if inside[-1] == len(places) - 1 else places[inside[-1]],
    )
    level = float(seen.runs @ (seen.y - z[best]) / seen.runs.sum())
    return Smooth(
        critical_batch=exponential(Estimate(float(places[best]), *map(float, ends))),
        fewest_tokens=math.exp(level),
        residuals=tuple((seen.y - level - z[best]).tolist()),
        p_of_misfit=seen.p_of(float(errors[best]), parameters=2),
    )
