"""Loss curves whose tokens to every loss follow a known law of the batch size: the right answer is
known without training.

With u = loss - floor, a run at batch B needs T(B) = T_0(u) max(1, B / B*(u))^(1 + slope) tokens
(arXiv 2505.02222, appendix F), where T_0 = (u / scale)^(-1/exponent), and the critical batch grows
as loss falls: B* = critical_batch (u_target / u)^growth. The noise of recorded losses has three
parts: of single points, of whole runs, and of whole batch sizes.

Parts: `Law`, `SmoothLaw` · `Noise` · `law`, a random law that depends on its number only ·
`curves`, recorded losses of all batch sizes and seeds.
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
    """The law of one optimizer."""

    critical_batch: float  # at the target loss
    slope: float  # of log steps in log batch beyond it: above -1, below 0
    tokens: float  # to the target loss, at small batches
    floor: float = 1.5
    exponent: float = 0.25
    growth: float = 0.5

    def unlimited_tokens(self, loss: float) -> float:
        """T_0, the tokens to a loss at batches below the critical batch."""
        return float(
            self.tokens * ((loss - self.floor) / (TARGET - self.floor)) ** (-1 / self.exponent)
        )

    def critical(self, loss: float) -> float:
        """The critical batch at a loss."""
        return float(
            self.critical_batch * ((TARGET - self.floor) / (loss - self.floor)) ** self.growth
        )

    def tokens_to(self, loss: float, batch_tokens: Sequence[float]) -> Array:
        """The exact tokens [batch] to a loss."""
        beyond = np.maximum(np.array(batch_tokens, dtype=np.float64) / self.critical(loss), 1)
        return self.unlimited_tokens(loss) * beyond ** (1 + self.slope)

    def loss_after(self, tokens: Array, batch_tokens: float) -> Array:
        """The inverse of `tokens_to` in closed form. As long as the batch lies below B*(u), u
        follows from T_0 alone.
        """
        relative, power = tokens / self.tokens, 1 + self.slope
        u = relative**-self.exponent
        beyond = batch_tokens > self.critical_batch * u**-self.growth
        limited = (relative * (self.critical_batch / batch_tokens) ** power) ** (
            -1 / (1 / self.exponent - self.growth * power)
        )
        return self.floor + (TARGET - self.floor) * np.where(beyond, limited, u)

    def token_optimal(self, tolerance: float) -> float:
        """The largest batch that needs at most (1 + tolerance) times the fewest tokens to the
        target.
        """
        return float(self.critical_batch * (1 + tolerance) ** (1 / (1 + self.slope)))


@dataclass(frozen=True)
class SmoothLaw(Law):
    """T(B) = T_0(u) (1 + B / B_crit), as in McCandlish et al. (arXiv 1812.06162). Its critical
    batch does not grow, and its slope is not used.
    """

    def tokens_to(self, loss: float, batch_tokens: Sequence[float]) -> Array:
        """The exact tokens [batch] to a loss."""
        return self.unlimited_tokens(loss) * (
            1 + np.array(batch_tokens, dtype=np.float64) / self.critical_batch
        )

    def loss_after(self, tokens: Array, batch_tokens: float) -> Array:
        """The inverse of `tokens_to`."""
        relative = tokens / self.tokens / (1 + batch_tokens / self.critical_batch)
        return self.floor + (TARGET - self.floor) * relative**-self.exponent


@dataclass(frozen=True)
class Noise:
    """Standard deviations of the noise, as shares of the loss."""

    point: float = 0.0  # of each recorded point separately
    run: float = 0.0  # of all points of a run together
    batch: float = 0.0  # of all runs at a batch size together, such as an imperfect learning rate
    # exponent by which the noise of a point falls as batches grow; 0.5 for training losses
    batch_power: float = 0.0


def law(number: int, lowest: float = 700.0, highest: float = 4500.0) -> Law:
    """A random law whose critical batch lies inside the range of BATCHES."""
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
    """The curves of all seeds at each batch size, batch by batch, each trained for `overrun` times
    the tokens to the target.
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
