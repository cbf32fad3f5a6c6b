"""Loss curves that follow a known law instead of training, so that the right answer is known.

A law gives the number of tokens T that a run at the batch size B needs to reach a loss (arXiv
2505.02222, appendix F):

    T(B) = T_0 max(1, B / B*)^(1 + slope)

In this formula, T_0 is the number of tokens to the loss at small batches, and B* is the critical
batch size, beyond which larger batches need more tokens. Both depend on the loss. Let u be the loss
minus its lowest possible value, `floor`, and let u_target be the same for the target loss:

    T_0 = tokens (u / u_target)^(-1 / exponent)
    B* = critical_batch (u_target / u)^growth

The names in these formulas are fields of `Law`. The noise of the losses has three parts: one
differs at each point of a curve, one is common to all points of a run, and one is common to all
runs at a batch size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from telescope.statistics.estimates import Array
from telescope.statistics.tokens_to_loss import LossCurves

BATCHES = tuple(2**n for n in range(8, 15))  # 256 to 16k tokens
TARGET = 2.0
POINTS = 200


@dataclass(frozen=True)
class Law:
    """The law of one optimizer. The module's docstring gives the formulas."""

    critical_batch: float  # critical batch size at the target loss, in tokens
    # Beyond the critical batch size, the steps to a loss are proportional to the batch size to this
    # power, which lies between -1 and 0.
    slope: float
    tokens: float  # tokens to the target loss at small batches
    floor: float = 1.5  # the loss after infinitely many tokens
    exponent: float = 0.25
    growth: float = 0.5

    def unlimited_tokens(self, loss: float) -> float:
        """Return T_0, the tokens to a loss at batch sizes below the critical batch size."""
        return float(
            self.tokens * ((loss - self.floor) / (TARGET - self.floor)) ** (-1 / self.exponent)
        )

    def critical(self, loss: float) -> float:
        """Return the critical batch size at a loss, in tokens."""
        return float(
            self.critical_batch * ((TARGET - self.floor) / (loss - self.floor)) ** self.growth
        )

    def tokens_to(self, loss: float, batch_tokens: Sequence[float]) -> Array:
        """Return the exact tokens to a loss at each batch size."""
        beyond = np.maximum(np.array(batch_tokens, dtype=np.float64) / self.critical(loss), 1)
        return self.unlimited_tokens(loss) * beyond ** (1 + self.slope)

    def loss_after(self, tokens: Array, batch_tokens: float) -> Array:
        """Return the loss after each number of tokens: the inverse of `tokens_to`.

        As long as the batch size is below the critical batch size at the loss, the loss follows
        from T_0 alone. Later it follows from the whole law, which can be solved for u.
        """
        relative, power = tokens / self.tokens, 1 + self.slope
        u = relative**-self.exponent
        beyond = batch_tokens > self.critical_batch * u**-self.growth
        limited = (relative * (self.critical_batch / batch_tokens) ** power) ** (
            -1 / (1 / self.exponent - self.growth * power)
        )
        return self.floor + (TARGET - self.floor) * np.where(beyond, limited, u)

    def token_optimal(self, tolerance: float) -> float:
        """Return the largest batch size that needs at most (1 + tolerance) times the fewest tokens.

        The tokens are those to the target loss.
        """
        return float(self.critical_batch * (1 + tolerance) ** (1 / (1 + self.slope)))


@dataclass(frozen=True)
class SmoothLaw(Law):
    """The law T(B) = T_0 (1 + B / B_crit) of McCandlish et al. (arXiv 1812.06162).

    B_crit is the field `critical_batch`. It is the same at every loss. The fields `slope` and
    `growth` are not used.
    """

    def tokens_to(self, loss: float, batch_tokens: Sequence[float]) -> Array:
        """Return the exact tokens to a loss at each batch size."""
        return self.unlimited_tokens(loss) * (
            1 + np.array(batch_tokens, dtype=np.float64) / self.critical_batch
        )

    def loss_after(self, tokens: Array, batch_tokens: float) -> Array:
        """Return the loss after each number of tokens: the inverse of `tokens_to`."""
        relative = tokens / self.tokens / (1 + batch_tokens / self.critical_batch)
        return self.floor + (TARGET - self.floor) * relative**-self.exponent


@dataclass(frozen=True)
class Noise:
    """Standard deviations of the noise, as shares of the loss."""

    point: float = 0.0  # noise that differs at each point of a curve
    run: float = 0.0  # noise that is common to all points of a run
    # Noise that is common to all runs at a batch size, as an imperfect learning rate would cause.
    batch: float = 0.0
    # The noise of a point is proportional to the batch size to the power -batch_power. For training
    # losses, batch_power is 0.5.
    batch_power: float = 0.0


def law(number: int, lowest: float = 700.0, highest: float = 4500.0) -> Law:
    """Return a random law. Equal numbers give equal laws.

    The critical batch size at the target loss lies between `lowest` and `highest` tokens.
    """
    rng = np.random.default_rng([number, 5])
    critical = float(np.exp(rng.uniform(np.log(lowest), np.log(highest))))
    return Law(
        critical, slope=float(rng.uniform(-0.6, -0.25)), tokens=float(rng.uniform(1.5e6, 3e6))
    )


def curves(
    of: Law,
    noise: Noise,
    seeds: int,
    number: int,
    overrun: float = 1.8,
    batches: Sequence[int] = BATCHES,
) -> LossCurves:
    """Return noisy curves of all seeds at each batch size. Equal numbers give equal noise.

    The curves are sorted by batch size, then by seed. Each curve ends at `overrun` times the tokens
    to the target loss.
    """
    rng = np.random.default_rng([number, 6])
    ends = overrun * of.tokens_to(TARGET, batches)
    tokens = np.repeat(ends[:, None] * np.arange(1, POINTS + 1) / POINTS, seeds, axis=0)
    truth = np.repeat(
        [
            of.loss_after(end * np.arange(1, POINTS + 1) / POINTS, b)
            for end, b in zip(ends, batches, strict=True)
        ],
        seeds,
        axis=0,
    )
    scale = np.repeat(
        [noise.point * (batches[0] / b) ** noise.batch_power for b in batches], seeds
    )[:, None]
    errors = scale * rng.standard_normal(truth.shape) + noise.run * rng.standard_normal(
        (len(truth), 1)
    )
    errors += noise.batch * np.repeat(rng.standard_normal((len(batches), 1)), seeds, axis=0)
    loss = (truth * (1 + errors)).astype(np.float32)
    return LossCurves.recorded(
        tokens, loss, np.full(len(loss), POINTS), np.zeros(len(loss), dtype=bool)
    )
