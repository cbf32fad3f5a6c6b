"""The data that `plot` draws, and the calculation of the lines in the picture.

The picture shows a telescoping study, or a sweep that was run without telescope. A *ladder* is the
search of one optimizer over growing widths. A *variant* is one of the architectures or texts that a
study compares; it has one ladder per optimizer. A sweep is drawn as one ladder.
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
    """A finished run; `loss` is None if the run diverged."""

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
    # lowest loss tried, as a mean over seeds; for runs that check the answer at the target, the
    # estimated loss at the optimum; None if unknown
    best_loss: float | None


@dataclass(frozen=True)
class PlottedLadder:
    """A ladder of a study, or a sweep."""

    name: str
    verdict: str
    levels: tuple[PlottedLevel, ...]
    runs: tuple[PlottedRun, ...]
    target_width: int
    target: PlottedEstimate | None  # None without an answer
    loss_name: str = "held-out loss (nats per token)"


def seed_adjusted_means(runs: Sequence[PlottedRun]) -> dict[Setting, float]:
    """The mean loss of each setting over its seeds, for the runs at one width. Diverged runs are
    left out. If several runs have the same seed and setting, the last run counts.

    Before the means are taken, the offset of each seed is subtracted from its losses. The offset is
    the mean difference between the losses of this seed and of the first seed, over the settings
    that both seeds share. The offset is 0 if the seeds share no setting.
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
    """The line of a width, as pairs (lr, loss) in ascending order. It shows the settings at one
    weight decay: the one with the most learning rates in `means`. If several weight decays have
    equally many learning rates, the one with the lowest loss is shown.
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
    """Pairs (width, lowest loss) for the levels whose lowest loss is known. If the variants differ
    in their data, their losses are not comparable. Each loss is then divided by the first loss.
    """
    losses = [
        (level.width, level.best_loss) for level in ladder.levels if level.best_loss is not None
    ]
    return [(width, loss / losses[0][1] if over == "data" else loss) for width, loss in losses]
