"""The data that a picture of a telescoping study shows, and the arithmetic behind its lines.

Parts: `PlottedRun`, `PlottedEstimate`, `PlottedLevel`, `PlottedLadder` · `seed_adjusted_means`,
`width_line`, `lowest_losses`.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

Setting = tuple[float, float]  # learning rate, weight decay
Over = Literal["model", "data"]


@dataclass(frozen=True)
class PlottedRun:
    """A finished trial; `loss` is None if the trial diverged."""

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
    """A width, the range of learning rates tried there, and the optimum."""

    width: int
    low: float
    high: float
    optimum: PlottedEstimate | None
    # lowest mean loss of a point or, at the target, the loss at the optimum; None without one
    best_loss: float | None


@dataclass(frozen=True)
class PlottedLadder:
    """The ladder of one optimizer and, if variants are compared, one variant."""

    name: str
    verdict: str
    levels: tuple[PlottedLevel, ...]
    runs: tuple[PlottedRun, ...]
    target_width: int
    target: PlottedEstimate | None  # None without an answer
    loss_name: str = "held-out loss (nats per token)"


def seed_adjusted_means(runs: Sequence[PlottedRun]) -> dict[Setting, float]:
    """Mean finite loss over the seeds of each setting at a width. Before that, each seed's mean
    difference from the first seed, over the settings at which both have a finite loss, is
    subtracted from its losses.
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
    """The line of a width, as pairs (lr, loss), at the weight decay that was tried with the most
    learning rates; of several such decays, at the one with the lowest loss.
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
    """Pairs (width, lowest loss). If variants differ in their data, losses are divided by the loss
    at the narrowest width, since losses on different data are not comparable.
    """
    losses = [
        (level.width, level.best_loss) for level in ladder.levels if level.best_loss is not None
    ]
    return [(width, loss / losses[0][1] if over == "data" else loss) for width, loss in losses]
