"""The picture of a telescoping study, or of a sweep that was run without telescope.

The picture has one row per *ladder*, the search of one optimizer over growing widths (*levels*). A
sweep is drawn as one ladder.

- The left side shows the final loss against the learning rate, with a line per width. A diamond
  marks the optimum of each level, and a band marks the answer at the target width.
- The right side shows the range of learning rates tried at each level (its *window*) and, at the
  bottom, the answer at the target width.

If the study compares architectures or data, a row above shows all ladders together. Its left side
shows the optimal learning rate against width, and its right side the lowest loss.

Before losses are averaged over seeds, the offset of each seed's losses from those of the first seed
is removed. A line joins the averages at one weight decay: the weight decay that has averages at the
most learning rates. Faint dots show the averages at all weight decays. At the top edge, crosses
mark diverged runs, and triangles mark averages above the range of the axis.

`draw` writes the file. `plot_data` defines the data to draw.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from telescope.extras import extra
from telescope.studies.style import INK, MUTED, TARGET
from telescope.studies.telescoping.plot_data import (
    Over,
    PlottedEstimate,
    PlottedLadder,
    lowest_losses,
    seed_adjusted_means,
    width_line,
)

with extra("plots"):
    from matplotlib import colormaps
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullFormatter

# Each width has a lowest loss. The loss axis ends at most about this far above the highest of these
# losses. The distance is a share of the lowest of these losses.
LOSS_HEADROOM = 0.22
Colour = tuple[float, float, float, float]  # red, green, blue, alpha


def draw(
    ladders: Sequence[PlottedLadder], path: Path, title: str = "", over: Over | None = None
) -> None:
    """Write the picture as a PNG file. `over` names the section of the document in which the
    study's variants differ. It is None if the study has no variants.
    """
    rows_above = 1 if over else 0
    figure = Figure(
        figsize=(12.5, 0.7 + 4.6 * (len(ladders) + rows_above)),
        layout="constrained",
        facecolor="white",
    )
    if title:
        figure.suptitle(title, fontsize=13, fontweight="bold", color=INK)
    grid = figure.subplots(len(ladders) + rows_above, 2, squeeze=False, width_ratios=(1.25, 1))
    if over:
        _side_by_side(grid[0, 0], grid[0, 1], ladders, over)
    for (left, right), ladder in zip(grid[rows_above:], ladders, strict=True):
        colours = _colours([level.width for level in ladder.levels])
        _losses(left, ladder, colours)
        _windows(right, ladder, colours)
    figure.savefig(path, format="png", dpi=140)


def _side_by_side(left: Axes, right: Axes, ladders: Sequence[PlottedLadder], over: Over) -> None:
    """Draw the optima of all ladders (left) and their lowest losses (right) against width."""
    for i, ladder in enumerate(ladders):
        colour = colormaps["tab10"](i % 10)
        # a factor on the width, so that the intervals of several ladders lie beside each other
        aside = 2 ** (0.06 * (i - (len(ladders) - 1) / 2))
        _optima(left, ladder, aside, colour)
        _joined(right, lowest_losses(ladder, over), ladder.name, colour)
    left.set_yscale("log", base=2)
    left.yaxis.set_major_formatter(FuncFormatter(lambda lr, _: f"{lr:.2g}"))
    left.set_ylabel("optimal base learning rate", fontsize=9, color=INK)
    _title(left, "optimal learning rate at each width")
    loss_name = (
        "lowest loss / loss at the narrowest width" if over == "data" else ladders[0].loss_name
    )
    right.set_ylabel(loss_name, fontsize=9, color=INK)
    _title(right, "lowest loss at each width")
    widths = {level.width for ladder in ladders for level in ladder.levels}
    widths |= {ladder.target_width for ladder in ladders}
    for axes in (left, right):
        _width_axis(axes, sorted(widths))


def _optima(axes: Axes, ladder: PlottedLadder, aside: float, colour: Colour) -> None:
    """Draw the optima of the levels and of the target, with their intervals. All widths are
    multiplied by `aside`.
    """
    estimates = [(level.width * aside, level.optimum) for level in ladder.levels if level.optimum]
    if ladder.target:
        estimates.append((ladder.target_width * aside, ladder.target))
    for x, estimate in estimates:
        ends = (estimate.low, estimate.high)
        axes.plot([x, x], ends, "-", color=colour, lw=2.2, alpha=0.6, solid_capstyle="butt")
    _joined(axes, [(x, estimate.value) for x, estimate in estimates], ladder.name, colour)


def _joined(axes: Axes, points: Sequence[tuple[float, float]], label: str, colour: Colour) -> None:
    """Draw points that are joined by a line."""
    if points:
        xs, ys = zip(*points, strict=True)
        axes.plot(xs, ys, "-o", color=colour, lw=1.4, ms=5, label=label)


def _width_axis(axes: Axes, widths: Sequence[int]) -> None:
    """Set up a logarithmic axis of widths, and a legend if there are lines."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(widths, [str(width) for width in widths])
    axes.set_xlabel("width", fontsize=9, color=INK)
    if axes.lines:
        axes.legend(fontsize=8, frameon=False, loc="best", labelcolor=INK)
    _bare_frame(axes)


def _colours(widths: Sequence[int]) -> dict[int, Colour]:
    """The colour of each width, from light (narrow) to dark (wide)."""
    shades = colormaps["viridis_r"]
    return {
        width: shades(0.2 + 0.7 * i / max(1, len(widths) - 1))
        for i, width in enumerate(sorted(widths))
    }


def _losses(axes: Axes, ladder: PlottedLadder, colours: Mapping[int, Colour]) -> None:
    """Draw the loss against the learning rate, with a line per width."""
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
            # two points or fewer do not show a curve, so they are joined by a dotted line
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
        diverged = sorted({run.lr for run in runs if run.loss is None})
        top = ceiling - 0.015 * (ceiling - floor)
        axes.plot(above, [top] * len(above), "^", color=colour, ms=5, mew=0, alpha=0.6)
        axes.plot(diverged, [top] * len(diverged), "x", color=colour, ms=7, mew=1.8, zorder=5)
        if level.optimum and level.best_loss is not None:
            _estimate(axes, level.optimum, level.best_loss, colour)
    if any(run.loss is None for run in ladder.runs):
        axes.plot([], [], "x", color=MUTED, ms=7, mew=1.8, label="diverged")
    axes.plot([], [], "D", color="white", mec=MUTED, ms=7, label="optimum and interval")
    axes.set_ylim(floor, ceiling)
    axes.set_ylabel(ladder.loss_name, fontsize=9, color=INK)
    _title(axes, f"{ladder.name}: loss against learning rate")
    _lr_axis(axes, ladder)
    axes.legend(fontsize=8, frameon=False, loc="best", labelcolor=INK)


def _windows(axes: Axes, ladder: PlottedLadder, colours: Mapping[int, Colour]) -> None:
    """Draw the window of each level, from the narrowest width (top) to the target (bottom)."""
    _band(axes, ladder)
    for y, level in enumerate(ladder.levels):
        colour = colours[level.width]
        width = level.high - level.low
        axes.barh(y, width, left=level.low, height=0.5, color=colour, alpha=0.25, ec=colour, lw=1)
        tried = sorted({run.lr for run in ladder.runs if run.width == level.width})
        axes.plot(tried, [y] * len(tried), "|", color=colour, ms=9, mew=1.4)
        if level.optimum:
            _estimate(axes, level.optimum, y, colour)
    bottom = len(ladder.levels)
    if ladder.target:
        _answer(axes, ladder.target, bottom, centre=math.sqrt(math.prod(_lr_range(ladder))))
    labels = [f"width {level.width}" for level in ladder.levels] + [f"target {ladder.target_width}"]
    axes.set_yticks(range(bottom + 1), labels, fontsize=9, color=INK)
    axes.set_ylim(bottom + 0.6, -0.6)
    _title(axes, f"learning rates tried at each width; verdict: {ladder.verdict}")
    _lr_axis(axes, ladder)


def _answer(axes: Axes, answer: PlottedEstimate, y: float, centre: float) -> None:
    """Draw the answer at the target: a star, its interval, and its numbers. The numbers are on the
    side that faces the centre of the picture, where there is more room.
    """
    ends = (answer.low, answer.high)
    axes.plot(ends, [y, y], "-", color=TARGET, lw=5, alpha=0.5, solid_capstyle="butt")
    axes.plot(answer.value, y, "*", color=TARGET, ms=15, mec="white", zorder=6)
    right = answer.value < centre
    axes.annotate(
        f"lr {answer.value:.3g}\n{answer.low:.3g} to {answer.high:.3g}",
        (answer.high if right else answer.low, y),
        xytext=(10 if right else -10, 0),
        textcoords="offset points",
        ha="left" if right else "right",
        va="center",
        in_layout=False,
        fontsize=9,
        color=TARGET,
    )


def _estimate(axes: Axes, estimate: PlottedEstimate, y: float, colour: Colour) -> None:
    """Draw a diamond at the optimum, and a line with end marks over its interval."""
    axes.plot([estimate.low, estimate.high], [y, y], "-", color=INK, lw=1.4, zorder=5)
    axes.plot([estimate.low, estimate.high], [y, y], "|", color=INK, ms=7, mew=1.4, zorder=5)
    axes.plot(estimate.value, y, "D", color=colour, mec=INK, mew=1.2, ms=7, zorder=6)


def _band(axes: Axes, ladder: PlottedLadder) -> None:
    """Draw the answer at the target as a vertical band with a dashed line."""
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
    """The lowest and the highest loss on the axis. The axis leaves out high losses
    (`LOSS_HEADROOM`), since they say little about the optimum.
    """
    losses = [run.loss for run in ladder.runs if run.loss is not None]
    if not losses:
        return 0.0, 1.0
    best = min(losses + [level.best_loss for level in ladder.levels if level.best_loss is not None])
    by_width = [
        min(run.loss for run in ladder.runs if run.width == width and run.loss is not None)
        for width in _trained_widths(ladder)
    ]
    ceiling = min(max(losses), max(by_width) + LOSS_HEADROOM * best)
    margin = 0.05 * max(ceiling - best, 0.01 * best)
    return best - margin, ceiling + margin


def _lr_range(ladder: PlottedLadder) -> tuple[float, float]:
    """The range of learning rates on the axis. It covers the runs, the windows and the interval at
    the target, with a margin of a quarter of an octave (a factor of 2^0.25) on each side.
    """
    rates = [run.lr for run in ladder.runs]
    rates += [lr for level in ladder.levels for lr in (level.low, level.high)]
    rates += [ladder.target.low, ladder.target.high] if ladder.target else []
    return min(rates, default=1e-3) / 2**0.25, max(rates, default=1.0) * 2**0.25


def _trained_widths(ladder: PlottedLadder) -> list[int]:
    """The widths with at least one finite loss, in ascending order."""
    return sorted({run.width for run in ladder.runs if run.loss is not None})


def _lr_axis(axes: Axes, ladder: PlottedLadder) -> None:
    """Set up a horizontal axis of learning rates on a log2 scale."""
    axes.set_xscale("log", base=2)
    axes.set_xlim(*_lr_range(ladder))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda lr, _: f"{lr:.2g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("base learning rate", fontsize=9, color=INK)
    _bare_frame(axes)


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=11, color=INK)


def _bare_frame(axes: Axes) -> None:
    """Leave only the left and the bottom line of the frame, and add faint vertical grid lines."""
    axes.tick_params(labelsize=9, colors=INK)
    axes.grid(axis="x", color=MUTED, alpha=0.15)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
