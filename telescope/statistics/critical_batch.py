"""The batch size up to which tokens to a loss stay the same, and their rise beyond it.

Two forms of T_L(B) are fitted to the settled batches of an optimizer
(`telescope.statistics.batch_readings`); every run is an observation of log T with the same
variance:

    piecewise    T = T_min max(1, B / B*)^(1 + s)
                 log S = -log B + b1 up to B*, of slope s above, -1 < s < 0
    smooth       T = T_min (1 + B / B_crit)
                 (S/S_min - 1)(E/E_min - 1) = 1, with E = T

The first form is from arXiv 2505.02222, appendix F, the second from McCandlish et al., arXiv
1812.06162.

The token-optimal batch is the paper's largest B with T(B) = min T (equation 6), with a tolerance,
since measured tokens are noisy: the largest B at which the *piecewise law* needs at most (1 +
TOLERANCE) times its minimum over the range that was run. Inside that range it is B* (1 +
TOLERANCE)^(1 / (1 + s)); beyond the largest batch it is inf.

Intervals are profile likelihood intervals: they cover all parameters whose squared error exceeds
the minimum by no more than variance x t^2, and every quantity computed from these parameters. The
variance is estimated from the spread over seeds and the misfit of the law together. If the misfit
is larger than seeds explain (the law does not hold, or some batches are tuned less well), it is
estimated from the misfit alone, with one observation per batch. An interval whose end lies outside
the batches that were run extends to 0 or inf.

Parts: `Observations`, the input of the fits · `piecewise` -> `Piecewise`, and `critical_batch`,
its critical batch alone · `smooth` -> `Smooth`. With fewer than three settled batches these
functions return None.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import fdtrc

from telescope.statistics.batch_readings import Pooled, Readings, exponential, half_width
from telescope.statistics.estimates import Array, Estimate

TOLERANCE = 0.02  # share of the fewest tokens by which a token-optimal batch may exceed them
FEWEST_BATCHES = 3  # the number of parameters of the piecewise law
PER_OCTAVE = 1024  # candidates for a critical batch in each doubling
DOUBTFUL = 0.1  # p-value below which a misfit is more than the noise of seeds
BEYOND = 10  # octaves beyond either end of the batches in which B_crit may lie


@dataclass(frozen=True, eq=False)
class Observations:
    """Mean log tokens of each settled batch."""

    x: Array  # [batch], log batch_tokens
    y: Array  # [batch], mean log tokens
    runs: Array  # [batch], number of runs
    squares: float  # sum of the squared differences of runs from the mean of their batch

    @classmethod
    def of(cls, readings: Readings) -> "Observations":
        pooled = Pooled.of(readings.settled)
        settled = pooled.counts > 0
        x = np.log(readings.batch_tokens[settled])
        return cls(x, pooled.means[settled], pooled.counts[settled], pooled.squares)

    def without(self, batch: int) -> "Observations":
        """All batches but the one at this index, with the spread over runs of all batches."""
        x, y, runs = (np.delete(values, batch) for values in (self.x, self.y, self.runs))
        return replace(self, x=x, y=y, runs=runs)

    def centred(self, values: Array) -> Array:
        """The values [..., batch] minus their mean over runs."""
        result: Array = values - (values @ self.runs / self.runs.sum())[..., None]
        return result

    def allowed_excess(self, misfit: float, parameters: int) -> float:
        """The excess over the least squared error, `misfit`, that a 90 % interval allows."""
        squares, dof = self.squares + misfit, int(self.runs.sum()) - parameters
        p = self.misfit_p_value(misfit, parameters)
        if p is not None and p < DOUBTFUL:
            squares, dof = misfit, len(self.x) - parameters
        return half_width(squares / dof, dof) ** 2 if dof > 0 else math.inf

    def misfit_p_value(self, misfit: float, parameters: int) -> float | None:
        """Probability of a misfit at least this large from the noise of seeds alone, by an F test;
        None if there are too few batches or seeds for the test."""
        free, within = len(self.x) - parameters, int(self.runs.sum()) - len(self.x)
        if free < 1 or within < 1 or self.squares == 0:
            return None
        return float(fdtrc(free, within, misfit / free / (self.squares / within)))


def candidates_between(low: float, high: float) -> Array:
    """Evenly spaced candidates for a critical batch; in log batch, as are both ends."""
    return np.linspace(low, high, math.ceil((high - low) / math.log(2) * PER_OCTAVE) + 1)


@dataclass(frozen=True)
class Form:
    """A fitted form of T_L(B)."""

    critical_batch: Estimate
    fewest_tokens: float  # T_min
    residuals: tuple[float, ...]  # of mean log tokens, by batch
    p_of_misfit: float | None  # small if the form does not hold

    @property
    def residual_percent(self) -> float:
        """Root mean square of the residuals, in % of the tokens."""
        return 100 * math.sqrt(math.fsum(r * r for r in self.residuals) / len(self.residuals))


@dataclass(frozen=True)
class Piecewise(Form):
    """The law of appendix F. Its critical batch is inf if tokens do not rise within the batches
    that were run."""

    slope: Estimate  # s of log steps
    token_optimal_batch: Estimate
    # critical batch with each batch left out in turn; empty if fewer than three would remain
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
    """The best fit of T = T_min max(1, B / e^knot)^rise for each candidate knot, the log batch at
    which tokens begin to rise; rise = 1 + s lies between 0 and 1."""

    knots: Array  # [knot], as are all others
    rises: Array
    errors: Array  # squared error
    free_rises: Array  # the best rise if it were not confined to 0 to 1
    free_errors: Array  # the squared error at the free rise
    stiffness: Array  # growth of the squared error with the square of the rise's deviation

    @classmethod
    def of(cls, observed: Observations) -> "Hinges":
        """The fits for all knots between the smallest and the largest batch."""
        knots = candidates_between(observed.x[0], observed.x[-1])
        z = observed.centred(np.maximum(observed.x - knots[:, None], 0))
        y = observed.centred(observed.y)
        stiffness, total = z**2 @ observed.runs, float(observed.runs @ y**2)
        moment = z @ (observed.runs * y)
        free = np.where(stiffness > 0, moment / np.where(stiffness > 0, stiffness, 1), 0)
        rises = free.clip(0, 1)
        free_errors = np.maximum(total - free * moment, 0)
        errors = free_errors + stiffness * (rises - free) ** 2
        return cls(knots, rises, errors, free, free_errors, stiffness)

    @property
    def best(self) -> int:
        """Index of the best knot; the largest if several are equally good."""
        return int(np.flatnonzero(self.errors <= self.errors.min() * (1 + 1e-12))[-1])

    @property
    def critical(self) -> float:
        """log B*; inf if the best rise is 0."""
        return float(self.knots[self.best]) if self.rises[self.best] > 0 else math.inf

    def region(self, limit: float) -> tuple[Array, Array, Array]:
        """Knots with a squared error of at most `limit`, and the lowest and the highest rise that
        each allows under it."""
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
    """log B_tok, with its least and greatest value over all fits whose squared error is at most
    `limit`."""
    largest, allowance = float(hinges.knots[-1]), math.log1p(tolerance)
    rise = float(hinges.rises[hinges.best])
    knots, lows, highs = hinges.region(limit)
    with np.errstate(divide="ignore"):  # a rise of 0 gives inf: beyond all batches
        low = float((knots + allowance / highs).min())
        high = float((knots + allowance / lows).max())
    value = hinges.critical + allowance / rise if rise > 0 else math.inf
    return Estimate(
        value if value <= largest else math.inf,
        min(low, largest),
        high if high <= largest else math.inf,
    )


def piecewise(readings: Readings, tolerance: float = TOLERANCE) -> Piecewise | None:
    """Fit the law of appendix F; `tolerance`, above 0, defines B_tok. None with fewer than three
    settled batches."""
    observed = Observations.of(readings)
    if len(observed.x) < FEWEST_BATCHES:
        return None
    hinges = Hinges.of(observed)
    knot, rise, error = (
        float(values[hinges.best]) for values in (hinges.knots, hinges.rises, hinges.errors)
    )
    fitted = rise * np.maximum(observed.x - knot, 0)
    level = float(observed.runs @ (observed.y - fitted) / observed.runs.sum())
    limit = error + observed.allowed_excess(error, parameters=3)
    knots, lows, highs = hinges.region(limit)
    ends = (
        -math.inf if knots[0] <= observed.x[0] else float(knots[0]),
        math.inf if knots[-1] >= observed.x[-1] else float(knots[-1]),
    )
    batches = range(len(observed.x)) if len(observed.x) > FEWEST_BATCHES else range(0)
    refits = [Hinges.of(observed.without(batch)) for batch in batches]
    return Piecewise(
        critical_batch=exponential(Estimate(hinges.critical, *ends)),
        fewest_tokens=math.exp(level),
        residuals=tuple((observed.y - level - fitted).tolist()),
        p_of_misfit=observed.misfit_p_value(error, parameters=3),
        slope=Estimate(rise - 1, float(lows.min()) - 1, float(highs.max()) - 1),
        token_optimal_batch=exponential(token_optimal(hinges, limit, tolerance)),
        left_out=tuple(float(np.exp(refit.critical)) for refit in refits),
    )


def critical_batch(readings: Readings) -> float | None:
    """The critical batch of the piecewise law, without its interval. It is inf if tokens do not
    rise within the batches that were run, None with fewer than three settled batches."""
    observed = Observations.of(readings)
    if len(observed.x) < FEWEST_BATCHES:
        return None
    return float(np.exp(Hinges.of(observed).critical))


def smooth(readings: Readings) -> Smooth | None:
    """Fit the form of McCandlish et al.; None with fewer than three settled batches."""
    observed = Observations.of(readings)
    if len(observed.x) < FEWEST_BATCHES:
        return None
    margin = BEYOND * math.log(2)
    candidates = candidates_between(observed.x[0] - margin, observed.x[-1] + margin)
    z = np.log1p(np.exp(observed.x - candidates[:, None]))
    errors = observed.centred(observed.y - z) ** 2 @ observed.runs
    best = int(errors.argmin())
    least = float(errors[best])
    inside = np.flatnonzero(errors <= least + observed.allowed_excess(least, parameters=2))
    ends = (
        -math.inf if inside[0] == 0 else float(candidates[inside[0]]),
        math.inf if inside[-1] == len(candidates) - 1 else float(candidates[inside[-1]]),
    )
    level = float(observed.runs @ (observed.y - z[best]) / observed.runs.sum())
    return Smooth(
        critical_batch=exponential(Estimate(float(candidates[best]), *ends)),
        fewest_tokens=math.exp(level),
        residuals=tuple((observed.y - level - z[best]).tolist()),
        p_of_misfit=observed.misfit_p_value(least, parameters=2),
    )
