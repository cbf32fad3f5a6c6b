"""The picture of the answer to a target loss.

It has three panels. On the left, hours against devices: a line through each optimizer's frontier,
filled markers where a step was timed and hollow ones where its time is modelled, faint markers
behind the frontier, an arrow on each bound. In the middle, AdamW's tokens over Muon's against batch
size, with intervals and the line at 1. On the right, tokens against batch size, with intervals,
arrows on bounds, and the critical batch of the piecewise law, B*. Colours and markers are
distinguishable for colour-blind readers.

Parts: `draw`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from telescope.extras import extra
from telescope.statistics.step_time import Origin
from telescope.studies.compute_time.rows import (
    BatchAnswer,
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

COLOURS: dict[OptimizerName, str] = {"muon": "#0072b2", "adamw": "#d55e00"}  # of Okabe and Ito
MARKERS: dict[OptimizerName, str] = {"muon": "o", "adamw": "s"}
RATIO = "#009e73"
ARROW = 1.35  # how far an arrow points beyond its bound, as a factor
LEGEND = {"fontsize": 8, "frameon": False, "loc": "best", "labelcolor": INK}
PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def draw(
    frontier: FrontierAnswer, batches: BatchAnswer, ratio: RatioAnswer, path: Path, title: str = ""
) -> None:
    """Write the picture as PNG."""
    figure = Figure(figsize=(17, 5.6), layout="constrained", facecolor="white")
    named = f"{title}: " if title else ""
    figure.suptitle(
        f"{named}to a loss of {frontier.target_loss:g}", fontsize=13, fontweight="bold", color=INK
    )
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.15, 1, 1.15))
    _frontier(left, frontier)
    _ratio(middle, ratio)
    _tokens(right, batches)
    figure.savefig(path, format="png", dpi=140)


def _frontier(axes: Axes, found: FrontierAnswer) -> None:
    """Hours against devices."""
    known = [row for row in found.rows if row.hours is not None]
    _finish(axes, "hours against devices", "devices", "hours")
    if not known:
        return _empty(axes)
    for name in COLOURS:
        rows = [row for row in known if row.optimizer == name]
        best = [row for row in rows if row.on_frontier]
        line = sorted((row.devices, row.hours or 0.0) for row in best)
        if line:
            axes.plot(
                *zip(*line, strict=True),
                "-",
                color=COLOURS[name],
                lw=1.8,
                zorder=3,
                label=OPTIMIZER_TITLES[name],
            )
        _points(axes, name, best, size=7)
        _points(
            axes,
            name,
            [row for row in rows if not (row.on_frontier or row.bound)],
            size=4,
            alpha=0.3,
        )
        for row in rows:
            if row.bound:
                _arrow(
                    axes,
                    (row.devices, row.hours or 0.0),
                    ARROW if row.censored else 1 / ARROW,
                    COLOURS[name],
                    alpha=0.5,
                )
    axes.plot([], [], "o", color=INK, ms=6, label="step time measured")
    axes.plot([], [], "o", color="white", mec=INK, ms=6, label="step time modelled")
    if any(row.censored for row in known):
        axes.plot([], [], "^", color=MUTED, ms=6, label="lower bound: a run did not reach the loss")
    if any(row.early for row in known):
        axes.plot(
            [],
            [],
            "v",
            color=MUTED,
            ms=6,
            label="upper bound: a run was below the loss at its first point",
        )
    axes.legend(**LEGEND)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))


def _points(
    axes: Axes, name: OptimizerName, rows: Sequence[FrontierRow], size: float, alpha: float = 1.0
) -> None:
    """Markers, filled where the step was timed, hollow where it is modelled."""
    for origin, face in ((Origin.MEASURED, COLOURS[name]), (Origin.MODELLED, "white")):
        at = [(row.devices, row.hours or 0.0) for row in rows if row.origin == origin]
        if at:
            axes.plot(
                *zip(*at, strict=True),
                MARKERS[name],
                color=face,
                mec=COLOURS[name],
                mew=1.4,
                ms=size,
                alpha=alpha,
                zorder=4,
            )


def _ratio(axes: Axes, found: RatioAnswer) -> None:
    """AdamW's tokens over Muon's."""
    known = [row for row in found.rows if row.ratio is not None]
    _finish(axes, "token ratio: above 1, Muon needs fewer", "batch (tokens)", "AdamW / Muon")
    if not known:
        return _empty(axes, found.note)
    axes.axhline(1.0, color=MUTED, lw=1.2, ls="--")
    for row in known:
        _interval(
            axes,
            Whisker(row.batch_tokens, row.ratio or 0.0, row.ratio_low, row.ratio_high),
            RATIO,
            hollow=row.pairs == 0,
        )
    settled = [(row.batch_tokens, row.ratio) for row in known if row.pairs]
    if settled:
        axes.plot(*zip(*settled, strict=True), "-", color=RATIO, lw=1.4, zorder=3)
    if found.trend_from_batch_tokens:
        axes.axvline(
            found.trend_from_batch_tokens,
            color=RATIO,
            lw=1,
            ls=":",
            label="the trend is fitted from this batch on",
        )
    axes.plot([], [], "o-", color=RATIO, ms=6, label="AdamW's tokens over Muon's, 90 % interval")
    if any(row.pairs == 0 for row in known):
        axes.plot([], [], "o", color="white", mec=RATIO, ms=6, label="a bound")
    axes.margins(y=0.2)  # room for the legend
    axes.legend(**LEGEND)
    _batches(axes)


def _tokens(axes: Axes, found: BatchAnswer) -> None:
    """Tokens against batch size, and B*."""
    known = [row for row in found.rows if row.tokens is not None]
    _finish(axes, "tokens against batch size", "batch (tokens)", "tokens to the loss")
    if not known:
        return _empty(axes)
    for name in COLOURS:
        rows = [row for row in known if row.optimizer == name]
        for row in rows:
            bound = row.censored + row.early > 0
            whisker = Whisker(row.batch_tokens, row.tokens or 0.0, row.tokens_low, row.tokens_high)
            _interval(axes, whisker, COLOURS[name], MARKERS[name], hollow=bound)
        settled = [(row.batch_tokens, row.tokens) for row in rows if row.censored + row.early == 0]
        if settled:
            axes.plot(*zip(*settled, strict=True), "-", color=COLOURS[name], lw=1.4, zorder=3)
        if rows:
            axes.plot(
                [], [], f"{MARKERS[name]}-", color=COLOURS[name], ms=6, label=OPTIMIZER_TITLES[name]
            )
    for one in found.optimizers:
        for law in one.critical:
            if law.form == "piecewise" and law.batch_tokens is not None:
                label = f"B* of {OPTIMIZER_TITLES[one.optimizer]}: {_short(law.batch_tokens)}"
                axes.axvline(
                    law.batch_tokens, color=COLOURS[one.optimizer], lw=1.2, ls="--", label=label
                )
                if law.low is not None and law.high is not None:
                    axes.axvspan(law.low, law.high, color=COLOURS[one.optimizer], alpha=0.12, lw=0)
    if any(row.censored + row.early for row in known):
        axes.plot([], [], "o", color="white", mec=INK, ms=6, label="a bound")
    axes.legend(**LEGEND)
    _batches(axes)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: _short(y)))
    axes.yaxis.set_minor_formatter(
        FuncFormatter(lambda y, _: _short(y) if f"{y:.0e}"[0] in "25" else "")
    )


@dataclass(frozen=True)
class Whisker:
    """A value and its interval; an open end is None."""

    x: float
    value: float
    low: float | None
    high: float | None


def _interval(
    axes: Axes, whisker: Whisker, colour: str, marker: str = "o", hollow: bool = False
) -> None:
    """A marker, a whisker over its interval, and an arrow at an open end."""
    x, value = whisker.x, whisker.value
    ends = [end for end in (whisker.low, whisker.high) if end]
    axes.plot([x] * (len(ends) + 1), [value, *ends], "-", color=colour, lw=1.4, zorder=4)
    axes.plot([x] * len(ends), ends, "_", color=colour, ms=8, mew=1.4, zorder=4)
    if whisker.high is None:
        _arrow(axes, (x, value), ARROW, colour)
    if not whisker.low:
        _arrow(axes, (x, value), 1 / ARROW, colour)
    axes.plot(
        x, value, marker, color="white" if hollow else colour, mec=colour, mew=1.4, ms=6, zorder=5
    )


def _arrow(
    axes: Axes, bound: tuple[float, float], factor: float, colour: str, alpha: float = 1.0
) -> None:
    """An arrow from a bound towards the true value."""
    x, y = bound
    arrow = {
        "arrowstyle": "-|>",
        "color": colour,
        "lw": 1.4,
        "alpha": alpha,
        "shrinkA": 0,
        "shrinkB": 0,
    }
    axes.annotate("", (x, y * factor), (x, y), arrowprops=arrow, zorder=4)
    axes.plot(x, y * factor, alpha=0)  # extends the axis to the arrow


def _short(value: float) -> str:
    """A value with three digits and an SI prefix."""
    for size, prefix in PREFIXES:
        if value >= size:
            return f"{value / size:.3g}{prefix}"
    return f"{value:.3g}"


def _batches(axes: Axes) -> None:
    """Batch sizes in octaves."""
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.0f}" if x < 1e5 else _short(x)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _finish(axes: Axes, title: str, x: str, y: str) -> None:
    """The title, labels and style that all panels share."""
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    axes.set_xlabel(x, fontsize=9, color=INK)
    axes.set_ylabel(y, fontsize=9, color=INK)
    axes.tick_params(labelsize=9, colors=INK, which="both")
    axes.grid(color=MUTED, alpha=0.15)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)


def _empty(axes: Axes, note: str = "") -> None:
    """The reason for an empty panel."""
    text = note or "no run reached the loss"
    axes.text(
        0.5,
        0.5,
        text,
        ha="center",
        va="center",
        transform=axes.transAxes,
        fontsize=9,
        color=MUTED,
        wrap=True,
    )
