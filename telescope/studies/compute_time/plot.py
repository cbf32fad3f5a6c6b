"""The picture of the answer for a target loss, in three panels.

- The left panel shows hours against devices. A row of the answer has the hours of one optimizer at
  one batch size on a number of devices. If the hours are only a bound, an arrow points towards the
  true value. Otherwise, the row has a marker: filled if the step time was measured, and hollow if
  it was modelled. A line connects the rows on each optimizer's frontier (see the module `rows`).
  Other rows have faint markers.
- The middle panel shows AdamW's tokens divided by Muon's, against batch size. A dashed line marks
  the ratio 1. A dotted line marks the batch size at which the fit of the ratio's trend begins.
- The right panel shows tokens against batch size. A dashed line marks each optimizer's critical
  batch B*, beyond which the optimizer's tokens rise. B* comes from the piecewise form of the fit. A
  shaded band covers the interval of B* if both ends are known.

In the last two panels, values have 90 % intervals, and values that are or may be bounds have hollow
markers. If an interval lacks an end, an arrow stands for this end.

The colours suit colour-blind readers, and each optimizer has a marker of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from telescope.extras import extra
from telescope.statistics.step_time import Origin
from telescope.studies.compute_time.rows import (
    BatchAnswer,
    BatchRow,
    BatchSummary,
    FrontierAnswer,
    FrontierRow,
    RatioAnswer,
)
from telescope.studies.style import INK, MUTED
from telescope.trials.types import OPTIMIZER_TITLES, OptimizerName

with extra("plots"):
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullFormatter

# from the palette of Okabe and Ito, whose colours colour-blind readers can tell apart
COLOURS: dict[OptimizerName, str] = {"muon": "#0072b2", "adamw": "#d55e00"}
MARKERS: dict[OptimizerName, str] = {"muon": "o", "adamw": "s"}
RATIO = "#009e73"  # colour of the ratio of tokens, from the same palette
ARROW = 1.35  # y of the head of an arrow that points up, divided by y of its start
LEGEND = {"fontsize": 8, "frameon": False, "loc": "best", "labelcolor": INK}
NO_HOURS = "hours need a step time and a run that did not diverge, at the same batch"
PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def draw(
    frontier: FrontierAnswer, batches: BatchAnswer, ratio: RatioAnswer, path: Path, title: str = ""
) -> None:
    """Write the picture as PNG."""
    figure = Figure(figsize=(17, 5.6), layout="constrained", facecolor="white")
    prefix = f"{title}: " if title else ""
    figure.suptitle(
        f"{prefix}what each optimizer needs to reach a loss of {frontier.target_loss:g}",
        fontsize=13,
        fontweight="bold",
        color=INK,
    )
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.15, 1, 1.15))
    _draw_frontier(left, frontier)
    _draw_ratio(middle, ratio)
    _draw_tokens(right, batches)
    figure.savefig(path, format="png", dpi=140)


def _draw_frontier(axes: Axes, answer: FrontierAnswer) -> None:
    """Draw hours against devices."""
    rows = [row for row in answer.rows if row.hours is not None]
    _set_style(axes, "hours against devices", "number of devices", "hours to the loss")
    if not rows:
        return _draw_note(axes, NO_HOURS)
    for name in COLOURS:
        _draw_optimizer(axes, name, [row for row in rows if row.optimizer == name])
    axes.plot([], [], "o", color=INK, ms=6, label="step time measured")
    axes.plot([], [], "o", color="white", mec=INK, ms=6, label="step time modelled")
    if any(row.censored for row in rows):
        label = "lower bound, because a run did not reach the loss"
        axes.plot([], [], "^", color=MUTED, ms=6, label=label)
    if any(row.early for row in rows):
        label = "upper bound, because a run was below the loss at its first point"
        axes.plot([], [], "v", color=MUTED, ms=6, label=label)
    axes.legend(**LEGEND)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))


def _draw_optimizer(axes: Axes, name: OptimizerName, rows: Sequence[FrontierRow]) -> None:
    """Draw an optimizer's frontier, its other rows and its bounds."""
    frontier = [row for row in rows if row.on_frontier]
    line, colour = sorted((row.devices, row.hours or 0.0) for row in frontier), COLOURS[name]
    if line:
        axes.plot(
            *zip(*line, strict=True),
            "-",
            color=colour,
            lw=1.8,
            zorder=3,
            label=OPTIMIZER_TITLES[name],
        )
    _draw_points(axes, name, frontier, size=7)
    dominated = [row for row in rows if not (row.on_frontier or row.bound)]
    _draw_points(axes, name, dominated, size=4, alpha=0.3)
    for row in rows:
        for is_bound, factor in ((row.censored, ARROW), (row.early, 1 / ARROW)):
            if is_bound:
                _draw_arrow(axes, (row.devices, row.hours or 0.0), factor, colour, alpha=0.5)


def _draw_points(
    axes: Axes, name: OptimizerName, rows: Sequence[FrontierRow], size: float, alpha: float = 1.0
) -> None:
    """Draw the markers of rows: filled if the step time is measured, hollow if it is modelled."""
    for origin, face in ((Origin.MEASURED, COLOURS[name]), (Origin.MODELLED, "white")):
        points = [(row.devices, row.hours or 0.0) for row in rows if row.origin == origin]
        if points:
            axes.plot(
                *zip(*points, strict=True),
                MARKERS[name],
                color=face,
                mec=COLOURS[name],
                mew=1.4,
                ms=size,
                alpha=alpha,
                zorder=4,
            )


def _draw_ratio(axes: Axes, answer: RatioAnswer) -> None:
    """Draw AdamW's tokens divided by Muon's, against batch size."""
    rows = [row for row in answer.rows if row.ratio is not None]
    title = "ratio of tokens to the loss: above 1, Muon needs fewer tokens"
    _set_style(axes, title, "batch size (tokens)", "AdamW's tokens / Muon's tokens")
    if not rows:
        return _draw_note(axes, answer.note)
    axes.axhline(1.0, color=MUTED, lw=1.2, ls="--")
    for row in rows:
        whisker = Whisker(row.batch_tokens, row.ratio or 0.0, row.ratio_low, row.ratio_high)
        _draw_interval(axes, whisker, RATIO, hollow=row.pairs == 0)
    settled = [(row.batch_tokens, row.ratio) for row in rows if row.pairs]
    if settled:
        axes.plot(*zip(*settled, strict=True), "-", color=RATIO, lw=1.4, zorder=3)
    if start := answer.trend_from_batch_tokens:
        label = "the trend is fitted from this batch on"
        axes.axvline(start, color=RATIO, lw=1, ls=":", label=label)
    axes.plot([], [], "o-", color=RATIO, ms=6, label="ratio with its 90 % interval")
    if any(row.pairs == 0 for row in rows):
        axes.plot(
            [], [], "o", color="white", mec=RATIO, ms=6, label="ratio that may be only a bound"
        )
    axes.margins(y=0.2)  # room for the legend
    axes.legend(**LEGEND)
    _set_batch_axis(axes)


def _draw_tokens(axes: Axes, answer: BatchAnswer) -> None:
    """Draw tokens against batch size, and each optimizer's critical batch."""
    rows = [row for row in answer.rows if row.tokens is not None]
    _set_style(axes, "tokens against batch size", "batch size (tokens)", "tokens to the loss")
    if not rows:
        return _draw_note(axes)
    for name, colour in COLOURS.items():
        own_rows = [row for row in rows if row.optimizer == name]
        for row in own_rows:
            whisker = Whisker(row.batch_tokens, row.tokens or 0.0, row.tokens_low, row.tokens_high)
            _draw_interval(axes, whisker, colour, MARKERS[name], hollow=_is_bound(row))
        settled = [(row.batch_tokens, row.tokens) for row in own_rows if not _is_bound(row)]
        if settled:
            axes.plot(*zip(*settled, strict=True), "-", color=colour, lw=1.4, zorder=3)
        if own_rows:
            axes.plot([], [], f"{MARKERS[name]}-", color=colour, ms=6, label=OPTIMIZER_TITLES[name])
    for summary in answer.optimizers:
        _draw_critical_batch(axes, summary)
    if any(map(_is_bound, rows)):
        axes.plot([], [], "o", color="white", mec=INK, ms=6, label="tokens that are only a bound")
    axes.legend(**LEGEND)
    _set_batch_axis(axes)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: _short(y)))
    axes.yaxis.set_minor_formatter(
        FuncFormatter(lambda y, _: _short(y) if f"{y:.0e}"[0] in "25" else "")
    )


def _is_bound(row: BatchRow) -> bool:
    return row.censored + row.early > 0


def _draw_critical_batch(axes: Axes, summary: BatchSummary) -> None:
    """Draw an optimizer's critical batch by the piecewise form of the fit, with its interval if
    both ends are known."""
    name = summary.optimizer
    for fit in summary.critical:
        if fit.form == "piecewise" and fit.batch_tokens is not None:
            title = OPTIMIZER_TITLES[name]
            label = f"critical batch B* of {title}: {_short(fit.batch_tokens)} tokens"
            axes.axvline(fit.batch_tokens, color=COLOURS[name], lw=1.2, ls="--", label=label)
            if fit.low and fit.high is not None:
                axes.axvspan(fit.low, fit.high, color=COLOURS[name], alpha=0.12, lw=0)


@dataclass(frozen=True)
class Whisker:
    """A value and its interval. If the interval has no lower end, `low` is None or 0. If the
    interval has no upper end, `high` is None."""

    x: float
    value: float
    low: float | None
    high: float | None


def _draw_interval(
    axes: Axes, whisker: Whisker, colour: str, marker: str = "o", hollow: bool = False
) -> None:
    """Draw a marker, a whisker over the interval, and an arrow for each missing end."""
    x, value = whisker.x, whisker.value
    ends = [end for end in (whisker.low, whisker.high) if end]
    axes.plot([x] * (len(ends) + 1), [value, *ends], "-", color=colour, lw=1.4, zorder=4)
    axes.plot([x] * len(ends), ends, "_", color=colour, ms=8, mew=1.4, zorder=4)
    if whisker.high is None:
        _draw_arrow(axes, (x, value), ARROW, colour)
    if not whisker.low:
        _draw_arrow(axes, (x, value), 1 / ARROW, colour)
    axes.plot(
        x, value, marker, color="white" if hollow else colour, mec=colour, mew=1.4, ms=6, zorder=5
    )


def _draw_arrow(
    axes: Axes, start: tuple[float, float], factor: float, colour: str, alpha: float = 1.0
) -> None:
    """Draw a vertical arrow. `factor` is y of the arrow's head divided by y of its start."""
    x, y = start
    style = {"arrowstyle": "-|>", "color": colour, "lw": 1.4, "alpha": alpha}
    style |= {"shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (x, y * factor), (x, y), arrowprops=style, zorder=4)
    axes.plot(x, y * factor, alpha=0)  # extends the axis to the arrow


def _short(value: float) -> str:
    """A value with three significant digits; from 1000 on with an SI prefix, such as 12.5k."""
    for size, prefix in PREFIXES:
        if value >= size:
            return f"{value / size:.3g}{prefix}"
    return f"{value:.3g}"


def _set_batch_axis(axes: Axes) -> None:
    """Make the x axis a log2 scale with labels for batch sizes."""
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.0f}" if x < 1e5 else _short(x)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _set_style(axes: Axes, title: str, x: str, y: str) -> None:
    """Set title and labels, in the style of all panels."""
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    axes.set_xlabel(x, fontsize=9, color=INK)
    axes.set_ylabel(y, fontsize=9, color=INK)
    axes.tick_params(labelsize=9, colors=INK, which="both")
    axes.grid(color=MUTED, alpha=0.15)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)


def _draw_note(axes: Axes, note: str = "") -> None:
    """Write a note into the middle of an empty panel."""
    text = note or "no run reached the loss"
    centred: dict[str, Any] = {"ha": "center", "va": "center", "transform": axes.transAxes}
    axes.text(0.5, 0.5, text, **centred, fontsize=9, color=MUTED, wrap=True)
