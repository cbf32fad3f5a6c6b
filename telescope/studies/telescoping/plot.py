"""The picture of a telescoping study.

It has a row per ladder. On the left, the evidence: held-out loss against learning rate, a line per
width, the optimum of each level with its interval, and the answer at the target as a band. On the
right, the method: the window of each level, narrowing as the width doubles, down to the interval at
the untrained target width. Where architectures or texts are compared, a row above shows them side
by side: the optimum of the learning rate against width, and the lowest loss.

Seeds are averaged after removing each seed's offset at the points that it shares with the first
seed. The line joins the runs of the weight decay that was tried at most learning rates (of several,
the best); the others are faint dots. Diverged runs, and losses far above the rest, are marked at
the top edge.

Parts: `PlottedRun`, `PlottedEstimate`, `PlottedLevel`, `PlottedLadder` (what is drawn) · `draw`
(the file) · `width_line`, `seed_adjusted_means`, `lowest_losses` (the arithmetic).
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Literal

from telescope.extras import extra
from telescope.studies.style import INK, MUTED, TARGET

with extra("plots"):
    from matplotlib import colormaps
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullFormatter

# losses above the best by more than this share of it are marked at the top edge
WINDOW_OF_LOSS = 0.22
Setting = tuple[float, float]  # learning rate, weight decay
Over = Literal["model", "data"]


@dataclass(frozen=True)
class PlottedRun:
    """A finished trial; `loss` is None where it diverged."""

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
    """A width, the range of learning rates tried there, and its optimum."""

    width: int
    low: float
    high: float
    optimum: PlottedEstimate | None
    best_loss: float | None


@dataclass(frozen=True)
class PlottedLadder:
    """An optimizer's ladder up to the target, for one variant where several are compared."""

    name: str
    verdict: str
    levels: tuple[PlottedLevel, ...]
    runs: tuple[PlottedRun, ...]
    target_width: int
    target: PlottedEstimate | None  # None where there is no answer
    loss_name: str = "held-out loss (nats per token)"


def seed_adjusted_means(runs: Sequence[PlottedRun]) -> dict[Setting, float]:
    """Mean loss of each setting of a width over its seeds, each seed shifted by its mean difference
    to the first seed at their shared settings.
    """
    losses: dict[int, dict[Setting, float]] = defaultdict(dict)
    for run in runs:
        if run.loss is not None:
            losses[run.seed][run.lr, run.weight_decay] = run.loss
    if not losses:
        return {}
    first = losses[min(losses)]
    moved: dict[Setting, list[float]] = defaultdict(list)
    for of_seed in losses.values():
        shared = [of_seed[setting] - first[setting] for setting in of_seed.keys() & first.keys()]
        offset = fmean(shared) if shared else 0.0
        for setting, loss in of_seed.items():
            moved[setting].append(loss - offset)
    return {setting: fmean(values) for setting, values in moved.items()}


def width_line(means: Mapping[Setting, float]) -> list[tuple[float, float]]:
    """The line of a width: (lr, loss) at the weight decay tried at most learning rates; of several,
    the best.
    """
    rows: dict[float, list[tuple[float, float]]] = defaultdict(list)
    for (lr, weight_decay), loss in means.items():
        rows[weight_decay].append((lr, loss))
    if not rows:
        return []
    most = max(map(len, rows.values()))
    return sorted(
        min(
            (line for line in rows.values() if len(line) == most),
            key=lambda line: min(loss for _, loss in line),
        )
    )


def lowest_losses(ladder: PlottedLadder, over: Over) -> list[tuple[int, float]]:
    """Pairs (width, lowest loss); over texts, the loss relative to that of the narrowest width,
    since losses of different texts are not comparable.
    """
    found = [
        (level.width, level.best_loss) for level in ladder.levels if level.best_loss is not None
    ]
    return [(width, loss / found[0][1] if over == "data" else loss) for width, loss in found]


def draw(
    ladders: Sequence[PlottedLadder], path: Path, title: str = "", over: Over | None = None
) -> None:
    """Write the picture as PNG; `over` says what the ladders compare besides optimizers."""
    above = 1 if over else 0
    figure = Figure(
        figsize=(12.5, 0.7 + 4.6 * (len(ladders) + above)), layout="constrained", facecolor="white"
    )
    if title:
        figure.suptitle(title, fontsize=13, fontweight="bold", color=INK)
    grid = figure.subplots(len(ladders) + above, 2, squeeze=False, width_ratios=(1.25, 1))
    if over:
        _side_by_side(grid[0, 0], grid[0, 1], ladders, over)
    for (left, right), ladder in zip(grid[above:], ladders, strict=True):
        colours = _colours([level.width for level in ladder.levels])
        _losses(left, ladder, colours)
        _windows(right, ladder, colours)
    figure.savefig(path, format="png", dpi=140)


def _side_by_side(left: Axes, right: Axes, ladders: Sequence[PlottedLadder], over: Over) -> None:
    """The optima of all ladders against width, and the lowest losses, a colour per ladder."""
    for i, ladder in enumerate(ladders):
        colour = colormaps["tab10"](i % 10)
        # so that intervals at one width lie beside each other
        aside = 2 ** (0.06 * (i - (len(ladders) - 1) / 2))
        found = [(level.width * aside, level.optimum) for level in ladder.levels if level.optimum]
        found += [(ladder.target_width * aside, ladder.target)] if ladder.target else []
        for x, one in found:
            left.plot(
                [x, x],
                [one.low, one.high],
                "-",
                color=colour,
                lw=2.2,
                alpha=0.6,
                solid_capstyle="butt",
            )
        for axes, line in (
            (left, [(x, one.value) for x, one in found]),
            (right, lowest_losses(ladder, over)),
        ):
            if line:
                axes.plot(
                    *zip(*line, strict=True), "-o", color=colour, lw=1.4, ms=5, label=ladder.name
                )
    left.set_yscale("log", base=2)
    left.yaxis.set_major_formatter(FuncFormatter(lambda lr, _: f"{lr:.2g}"))
    left.set_ylabel("optimal base learning rate", fontsize=9, color=INK)
    left.set_title(
        "optima and their intervals, up to the target", loc="left", fontsize=11, color=INK
    )
    right.set_ylabel(
        "lowest loss, over that of the first" if over == "data" else ladders[0].loss_name,
        fontsize=9,
        color=INK,
    )
    right.set_title("lowest loss at each width", loc="left", fontsize=11, color=INK)
    widths = sorted(
        {
            width
            for one in ladders
            for width in (*(level.width for level in one.levels), one.target_width)
        }
    )
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks(widths, [str(width) for width in widths])
        axes.set_xlabel("width", fontsize=9, color=INK)
        if axes.lines:
            axes.legend(fontsize=8, frameon=False, loc="best", labelcolor=INK)
        _plain(axes)


def _colours(widths: Sequence[int]) -> dict[int, tuple[float, float, float, float]]:
    """A colour per width, from light (narrow) to dark (wide)."""
    shades = colormaps["viridis_r"]
    return {
        width: shades(0.2 + 0.7 * i / max(1, len(widths) - 1))
        for i, width in enumerate(sorted(widths))
    }


def _losses(
    axes: Axes, ladder: PlottedLadder, colours: Mapping[int, tuple[float, float, float, float]]
) -> None:
    """Loss against learning rate, a line per width."""
    floor, ceiling = _loss_range(ladder)
    _band(axes, ladder)
    for level in ladder.levels:
        runs = [run for run in ladder.runs if run.width == level.width]
        colour = colours[level.width]
        means = seed_adjusted_means(runs)
        line = width_line(means)
        axes.plot(
            [lr for lr, _ in means], list(means.values()), "o", ms=3, color=colour, alpha=0.3, mew=0
        )
        if line:
            # two points are corners around the optimum, not a curve
            style = "-o" if len(line) > 2 else ":o"
            axes.plot(
                *zip(*line, strict=True),
                style,
                color=colour,
                lw=1.8,
                ms=4.5,
                label=f"width {level.width}",
                zorder=3,
            )
        above = sorted({lr for (lr, _), loss in means.items() if loss > ceiling})
        gone = sorted({run.lr for run in runs if run.loss is None})
        top = ceiling - 0.015 * (ceiling - floor)
        axes.plot(above, [top] * len(above), "^", color=colour, ms=5, mew=0, alpha=0.6)
        axes.plot(gone, [top] * len(gone), "x", color=colour, ms=7, mew=1.8, zorder=5)
        if level.optimum and level.best_loss is not None:
            _estimate(axes, level.optimum, level.best_loss, colour)
    if any(run.loss is None for run in ladder.runs):
        axes.plot([], [], "x", color=MUTED, ms=7, mew=1.8, label="diverged")
    axes.plot([], [], "D", color="white", mec=MUTED, ms=7, label="optimum and interval")
    axes.set_ylim(floor, ceiling)
    axes.set_ylabel(ladder.loss_name, fontsize=9, color=INK)
    axes.set_title(f"{ladder.name}: loss against learning rate", loc="left", fontsize=11, color=INK)
    _finish(axes, ladder)
    axes.legend(fontsize=8, frameon=False, loc="best", labelcolor=INK)


def _windows(
    axes: Axes, ladder: PlottedLadder, colours: Mapping[int, tuple[float, float, float, float]]
) -> None:
    """The window of each level, the narrowest width on top and the target at the bottom."""
    _band(axes, ladder)
    for y, level in enumerate(ladder.levels):
        colour = colours[level.width]
        axes.barh(
            y,
            level.high - level.low,
            left=level.low,
            height=0.5,
            color=colour,
            alpha=0.25,
            ec=colour,
            lw=1,
        )
        tried = sorted({run.lr for run in ladder.runs if run.width == level.width})
        axes.plot(tried, [y] * len(tried), "|", color=colour, ms=9, mew=1.4)
        if level.optimum:
            _estimate(axes, level.optimum, y, colour)
    bottom = len(ladder.levels)
    if ladder.target:
        answer = ladder.target
        axes.plot(
            [answer.low, answer.high],
            [bottom] * 2,
            "-",
            color=TARGET,
            lw=5,
            alpha=0.5,
            solid_capstyle="butt",
        )
        axes.plot(answer.value, bottom, "*", color=TARGET, ms=15, mec="white", zorder=6)
        right = answer.value < math.sqrt(math.prod(_lr_range(ladder)))  # where there is more room
        axes.annotate(
            f"lr {answer.value:.3g}\n{answer.low:.3g} to {answer.high:.3g}",
            (answer.high if right else answer.low, bottom),
            xytext=(10 if right else -10, 0),
            textcoords="offset points",
            ha="left" if right else "right",
            va="center",
            in_layout=False,
            fontsize=9,
            color=TARGET,
        )
    labels = [f"width {level.width}" for level in ladder.levels] + [f"target {ladder.target_width}"]
    axes.set_yticks(range(bottom + 1), labels, fontsize=9, color=INK)
    axes.set_ylim(bottom + 0.6, -0.6)
    axes.set_title(f"windows, level by level: {ladder.verdict}", loc="left", fontsize=11, color=INK)
    _finish(axes, ladder)


def _estimate(
    axes: Axes, estimate: PlottedEstimate, y: float, colour: tuple[float, float, float, float]
) -> None:
    """A diamond at the optimum, a whisker over its interval."""
    axes.plot([estimate.low, estimate.high], [y, y], "-", color=INK, lw=1.4, zorder=5)
    axes.plot([estimate.low, estimate.high], [y, y], "|", color=INK, ms=7, mew=1.4, zorder=5)
    axes.plot(estimate.value, y, "D", color=colour, mec=INK, mew=1.2, ms=7, zorder=6)


def _band(axes: Axes, ladder: PlottedLadder) -> None:
    """The answer at the target, behind everything else."""
    if answer := ladder.target:
        axes.axvspan(
            answer.low,
            answer.high,
            color=TARGET,
            alpha=0.10,
            lw=0,
            label=f"interval at width {ladder.target_width}",
        )
        axes.axvline(answer.value, color=TARGET, lw=1.2, ls="--")


def _loss_range(ladder: PlottedLadder) -> tuple[float, float]:
    """The range from a little below the best loss to where losses say nothing about the optimum."""
    losses = [run.loss for run in ladder.runs if run.loss is not None]
    if not losses:
        return 0.0, 1.0
    best = min(losses + [level.best_loss for level in ladder.levels if level.best_loss is not None])
    by_width = [
        min(run.loss for run in ladder.runs if run.width == w and run.loss is not None)
        for w in _trained(ladder)
    ]
    ceiling = min(max(losses), max(by_width) + WINDOW_OF_LOSS * best)
    margin = 0.05 * max(ceiling - best, 0.01 * best)
    return best - margin, ceiling + margin


def _lr_range(ladder: PlottedLadder) -> tuple[float, float]:
    """The range of all learning rates drawn, and a quarter of an octave more on each side."""
    shown = [run.lr for run in ladder.runs]
    shown += [lr for level in ladder.levels for lr in (level.low, level.high)]
    shown += [ladder.target.low, ladder.target.high] if ladder.target else []
    return min(shown, default=1e-3) / 2**0.25, max(shown, default=1.0) * 2**0.25


def _trained(ladder: PlottedLadder) -> list[int]:
    """Widths with at least one finite loss."""
    return sorted({run.width for run in ladder.runs if run.loss is not None})


def _finish(axes: Axes, ladder: PlottedLadder) -> None:
    """The axes that both sides share: learning rate in octaves."""
    axes.set_xscale("log", base=2)
    axes.set_xlim(*_lr_range(ladder))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda lr, _: f"{lr:.2g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("base learning rate", fontsize=9, color=INK)
    _plain(axes)


def _plain(axes: Axes) -> None:
    """Axes with few lines."""
    axes.tick_params(labelsize=9, colors=INK)
    axes.grid(axis="x", color=MUTED, alpha=0.15)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
