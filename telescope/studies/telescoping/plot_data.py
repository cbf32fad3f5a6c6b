"""The data of the picture of a telescoping study or of a sweep, and the arithmetic of its lines.

A *ladder* is the search of one optimizer over growing widths. A *variant* is one of the
architectures or texts that a study compares; it has one ladder per optimizer.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

Setting = tuple[float, float]  # learning rate, weight decay
Over = Literal["model", "data"]  # the section of the document in which the variants differ


@dataclass(frozen=True)
class PlottedRun:
    """A finished run of a study or of a sweep; `loss` is None if the run diverged."""

    width: int
    lr: float
    weight_decay: float
    seed: int
    loss: float | None


@dataclass(frozen=True)
class PlottedEstimate:
    """A learning rate and its interval."""

    low: float
    value: float
    high: float


@dataclass(frozen=True)
class PlottedLevel:
    """A width, the range of learning rates tried there (`low` to `high`), and the optimum."""

    width: int
    low: float
    high: float
    optimum: PlottedEstimate | None
    # lowest of the losses of all combinations of hyperparameters, each a mean over seeds; for
    # validation runs at the target, the loss at the optimum; None if unknown
    best_loss: float | None


@dataclass(frozen=True)
class PlottedLadder:
    """The ladder of one optimizer and, if the study compares variants, of one variant."""

    name: str
    verdict: str
    levels: tuple[PlottedLevel, ...]
    runs: tuple[PlottedRun, ...]
    target_width: int
    target: PlottedEstimate | None  # None without an answer
    loss_name: str = "held-out loss (nats per token)"


def seed_adjusted_means(runs: Sequence[PlottedRun]) -> dict[Setting, float]:
    """The mean loss of each setting over its seeds, for the runs at one width. Diverged runs are
    left out.

    Before the means are taken, the offset of each seed is subtracted from its losses. The offset is
    the mean difference between the losses of this seed and of the first seed, over the settings
    that both seeds share. It is 0 if they share none.
    """
    losses: dict[int, dict[Setting, float]] = defaultdict(dict)
    for run in runs:
        if run.loss is not None:
            losses[run.seed][run.lr, run.weight_decay] = run.loss
    if not losses:
        return {}
    first = losses[min(losses)]
    shifted: dict[Setting, list[float]] = defaultdict(list)
    for seed_losses in losses.values():
        shared = seed_losses.keys() & first.keys()
        gaps = [seed_losses[setting] - first[setting] for setting in shared]
        offset = fmean(gaps) if gaps else 0.0
        for setting, loss in seed_losses.items():
            shifted[setting].append(loss - offset)
    return {setting: fmean(values) for setting, values in shifted.items()}


def width_line(means: Mapping[Setting, float]) -> list[tuple[float, float]]:
    """The line of a width, as pairs (lr, loss). It shows the settings at one weight decay: the
    weight decay that was tried with the most learning rates. If several weight decays were tried
    with equally many learning rates, the weight decay with the lowest loss is shown.
    """
    rows: dict[float, list[tuple[float, float]]] = defaultdict(list)
    for (lr, weight_decay), loss in means.items():
        rows[weight_decay].append((lr, loss))
    if not rows:
        return []
    longest = max(map(len, rows.values()))
    return sorted(
        min(
            (line for line in rows.values() if len(line) == longest),
            key=lambda line: min(loss for _, loss in line),
        )
    )


def lowest_losses(ladder: PlottedLadder, over: Over) -> list[tuple[int, float]]:
    """Pairs (width, lowest loss). If the variants differ in their data, their losses are not
    comparable; each loss is then divided by the loss at the narrowest width whose loss is known.
    """
    losses = [
        (level.width, level.best_loss) for level in ladder.levels if level.best_loss is not None
    ]
    return [(width, loss / losses[0][1] if over == "data" else loss) for width, loss in losses]
