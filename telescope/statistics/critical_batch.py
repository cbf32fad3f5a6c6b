"""The critical batch: the batch size beyond which an optimizer needs more tokens to reach a loss.

T(B) is the number of tokens that an optimizer needs to reach a target loss at batch size B. Two
formulas for T(B), here called *forms*, are fitted to the *settled* batch sizes of the optimizer:
those at which the tokens are known (`telescope.statistics.batch_readings`). A run is an observation
of log T. All observations are assumed to have the same variance.

    piecewise    T = T_min max(1, B / B*)^(1 + s), with -1 <= s <= 0
    smooth       T = T_min (1 + B / B_crit)

T_min is the number of tokens at small batch sizes. The critical batch is B* by the piecewise form,
and B_crit by the smooth form. The piecewise form is from arXiv 2505.02222, appendix F. The number
of steps is S = T / B. On log-log axes, S against B has slope -1 up to B*, and slope s beyond B*.
The smooth form is from McCandlish et al., arXiv 1812.06162. There, it is written as follows, where
S_min is the number of steps at very large batch sizes:

    (S / S_min - 1) (T / T_min - 1) = 1

arXiv 2505.02222 also defines the token-optimal batch B_tok, as the largest batch size that needs
the fewest tokens (equation 6). Measured tokens are noisy, so B_tok is defined here as the largest
batch size at which the piecewise form exceeds T_min by at most the share TOLERANCE:

    B_tok = B* (1 + TOLERANCE)^(1 / (1 + s))

If this value is above the largest settled batch size, B_tok is inf.

Intervals are profile likelihood intervals. Parameters are accepted if their squared error is at
most the smallest squared error plus variance x t^2, where t is the Student t quantile. The interval
of a quantity covers its values at all accepted parameters. The *misfit* is the squared error that
the fitted form leaves in the mean log T of the batch sizes. The variance is usually estimated from
the differences between seeds and from the misfit together. The misfit may be larger than the
differences between seeds explain, because the form does not hold, or because some batch sizes are
tuned less well. In that case, the variance is estimated from the misfit alone, with one observation
per batch size.

An interval of B* that reaches the smallest settled batch size extends to 0. An interval that
reaches the largest settled batch size extends to inf. For B_crit, these two limits lie further out,
by BEYOND doublings.

Parts: `Observations`, the input of the fits · `piecewise`, the fit of the piecewise form ·
`critical_batch`, B* without an interval · `smooth`, the fit of the smooth form.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import fdtrc

from telescope.statistics.batch_readings import Pooled, Readings, exponential, half_width
from telescope.statistics.estimates import Array, Estimate

TOLERANCE = 0.02  # share of T_min by which the tokens at B_tok may exceed T_min
FEWEST_BATCHES = 3  # settled batch sizes that a fit needs; the piecewise form has 3 parameters
PER_OCTAVE = 1024  # number of candidates for a critical batch per doubling of the batch size
DOUBTFUL = 0.1  # p-value of the misfit below which the variance comes from the misfit alone
BEYOND = 10  # B_crit may lie up to this many doublings outside the settled batch sizes


@dataclass(frozen=True, eq=False)
class Observations:
    """The input of the fits: the mean log tokens of each settled batch size."""

    x: Array  # [batch], log batch_tokens
    y: Array  # [batch], mean log tokens
    runs: Array  # [batch], number of runs
    # sum of the squared differences of the runs' log tokens from the mean at their batch size
    squares: float

    @classmethod
    def of(cls, readings: Readings) -> "Observations":
        pooled = Pooled.of(readings.settled)
        settled = pooled.counts > 0
        x = np.log(readings.batch_tokens[settled])
        return cls(x, pooled.means[settled], pooled.counts[settled], pooled.squares)

    def without(self, batch: int) -> "Observations":
        """The observations without the batch size at this index. `squares` is not changed."""
        x, y, runs = (np.delete(values, batch) for values in (self.x, self.y, self.runs))
        return replace(self, x=x, y=y, runs=runs)

    def centred(self, values: Array) -> Array:
        """The values [..., batch] minus their weighted mean. The weight of a batch size is its
        number of runs."""
        result: Array = values - (values @ self.runs / self.runs.sum())[..., None]
        return result

    def allowed_excess(self, misfit: float, parameters: int) -> float:
        """The excess over the smallest squared error that a 90 % interval allows. `misfit` is the
        smallest squared error, and `parameters` is the number of parameters of the fitted form. The
        excess is inf if there are no degrees of freedom."""
        squares, dof = self.squares + misfit, int(self.runs.sum()) - parameters
        p = self.misfit_p_value(misfit, parameters)
        if p is not None and p < DOUBTFUL:
            squares, dof = misfit, len(self.x) - parameters
        return half_width(squares / dof, dof) ** 2 if dof > 0 else math.inf

    def misfit_p_value(self, misfit: float, parameters: int) -> float | None:
        """The p-value of an F test: the probability that differences between seeds alone give a
        misfit at least this large. None if there are too few batch sizes or runs for the test, or
        if all runs with the same batch size have the same log tokens."""
        misfit_dof, seed_dof = len(self.x) - parameters, int(self.runs.sum()) - len(self.x)
        if misfit_dof < 1 or seed_dof < 1 or self.squares == 0:
            return None
        f = misfit / misfit_dof / (self.squares / seed_dof)
        return float(fdtrc(misfit_dof, seed_dof, f))


def candidates_between(low: float, high: float) -> Array:
    """Evenly spaced candidates for the log of a critical batch, from `low` to `high`."""
    return np.linspace(low, high, math.ceil((high - low) / math.log(2) * PER_OCTAVE) + 1)


@dataclass(frozen=True)
class Form:
    """The results of a fit that both forms of T(B) have."""

    critical_batch: Estimate
    fewest_tokens: float  # T_min
    residuals: tuple[float, ...]  # residual of the mean log tokens at each settled batch size
    # p-value of the misfit (`Observations.misfit_p_value`); a small value speaks against the form
    p_of_misfit: float | None

    @property
    def residual_percent(self) -> float:
        """Root mean square of the residuals, approximately in % of the tokens."""
        return 100 * math.sqrt(math.fsum(r * r for r in self.residuals) / len(self.residuals))


@dataclass(frozen=True)
class Piecewise(Form):
    """The fitted piecewise form. The critical batch is B*, or inf if tokens do not rise within the
    settled batch sizes."""

    slope: Estimate  # s
    token_optimal_batch: Estimate  # B_tok
    # for each settled batch size, the critical batch of a fit without it; empty if fewer than three
    # batch sizes would remain
    left_out: tuple[float, ...]


@dataclass(frozen=True)
class Smooth(Form):
    """The fitted smooth form. The critical batch is B_crit."""

    @property
    def fewest_steps(self) -> float:
        """S_min: the number of steps at very large batch sizes."""
        return self.fewest_tokens / self.critical_batch.value


@dataclass(frozen=True, eq=False)
class Hinges:
    """The best fit of the piecewise form for each candidate of log B*, which is called a knot. The
    *rise* is the exponent of the form: 1 + s, between 0 and 1. All arrays are [knot]."""

    knots: Array
    rises: Array  # best rise between 0 and 1
    errors: Array  # squared error at `rises`
    free_rises: Array  # best rise without the limits 0 and 1
    free_errors: Array  # squared error at `free_rises`
    stiffness: Array  # increase of the squared error, divided by (rise - free rise)^2

    @classmethod
    def of(cls, observed: Observations) -> "Hinges":
        """The fits for all knots from the smallest to the largest settled batch size."""
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
        """Index of the knot with the smallest squared error. If several knots are equally good, the
        index of the largest of these knots."""
        return int(np.flatnonzero(self.errors <= self.errors.min() * (1 + 1e-12))[-1])

    @property
    def critical(self) -> float:
        """log B*, from the best knot; inf if the best rise is 0."""
        return float(self.knots[self.best]) if self.rises[self.best] > 0 else math.inf

    def region(self, limit: float) -> tuple[Array, Array, Array]:
        """The knots at which some rise has a squared error of at most `limit`. Also the lowest and
        the highest such rise at each of these knots."""
        inside = self.errors <= limit
        # The stiffness is 0 at the last knot: no batch size lies above it, so any rise fits there.
        stiffness = np.maximum(self.stiffness[inside], 1e-300)
        reach = np.sqrt(np.maximum(limit - self.free_errors[inside], 0) / stiffness)
        return (
            self.knots[inside],
            (self.free_rises[inside] - reach).clip(0, 1),
            (self.free_rises[inside] + reach).clip(0, 1),
        )


def token_optimal(hinges: Hinges, limit: float, tolerance: float) -> Estimate:
    """log B_tok, with the interval of its values over all fits whose squared error is at most
    `limit`. The value and the upper end are inf beyond the largest settled batch size. The lower
    end is at most the log of the largest settled batch size."""
    largest, allowance = float(hinges.knots[-1]), math.log1p(tolerance)
    rise = float(hinges.rises[hinges.best])
    knots, lows, highs = hinges.region(limit)
    with np.errstate(divide="ignore"):  # a rise of 0 gives inf: beyond all batch sizes
        low = float((knots + allowance / highs).min())
        high = float((knots + allowance / lows).max())
    value = hinges.critical + allowance / rise if rise > 0 else math.inf
    return Estimate(
        value if value <= largest else math.inf,
        min(low, largest),
        high if high <= largest else math.inf,
    )


def piecewise(readings: Readings, tolerance: float = TOLERANCE) -> Piecewise | None:
    """Fit the piecewise form. `tolerance` is the share of T_min by which the tokens at B_tok may
    exceed T_min; it must be above 0. None with fewer than three settled batch sizes."""
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
    """B*, without an interval; inf if tokens do not rise within the settled batch sizes. None with
    fewer than three settled batch sizes."""
    observed = Observations.of(readings)
    if len(observed.x) < FEWEST_BATCHES:
        return None
    return float(np.exp(Hinges.of(observed).critical))


def smooth(readings: Readings) -> Smooth | None:
    """Fit the smooth form; None with fewer than three settled batch sizes."""
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
