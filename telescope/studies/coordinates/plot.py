"""The picture of a coordinate check.

The check trains models of several widths for a few steps, and compares the changes of layers'
outputs across widths. For each report, the picture has a row with two panels. The left panel shows
the changes of the layers' outputs and of the logits. The right panel shows the parts of these
changes that are due to a layer's own update.

A line shows the change of one layer against width, as log2 of the RMS after the last step, averaged
over seeds. The value at the narrowest width is subtracted, so that all lines begin at zero. The
shaded wedge shows the *gate*: the range of slopes at which a change counts as constant in size.
The steepest failing layers of a panel are named.
"""

import math
from collections.abc import Mapping
from pathlib import Path

from telescope.extras import extra
from telescope.studies.coordinates.check import CoordinateReport
from telescope.studies.style import INK, MUTED, TARGET

with extra("plots"):
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PARTS = {"moved": "change of the outputs", "own": "change by a layer's own update"}
OTHER_COLOUR = "#2a788e"  # colour of layers that do not fail
MOST_NAMED = 6  # largest number of failing layers that a panel names
LINE_HEIGHT = 0.035  # height of a name, as a share of the axis


def draw(reports: Mapping[str, CoordinateReport], path: Path, title: str = "") -> None:
    """Write the picture to `path` as PNG, with a row for each report. The keys of `reports` are
    names for the titles of the panels."""
    figure = Figure(
        figsize=(12.5, 0.7 + 4.6 * len(reports)), layout="constrained", facecolor="white"
    )
    if title:
        figure.suptitle(title, fontsize=13, fontweight="bold", color=INK)
    grid = figure.subplots(len(reports), 2, squeeze=False)
    for row, (name, report) in zip(grid, reports.items(), strict=True):
        for axes, (part, words) in zip(row, PARTS.items(), strict=True):
            _draw_layers(axes, report, part)
            _name_failing_layers(axes, report, part)
            axes.set_title(f"{name}, {words}: {report.verdict}", loc="left", fontsize=11, color=INK)
            _finish(axes, report)
    figure.savefig(path, format="png", dpi=140)


def _octaves(report: CoordinateReport) -> list[float]:
    """The widths as octaves (doublings) above the narrowest width."""
    return [math.log2(width / report.widths[0]) for width in report.widths]


def _draw_layers(axes: Axes, report: CoordinateReport, part: str) -> None:
    """Draw the lines of the layers, and the wedge of the gate."""
    octaves = _octaves(report)
    upper = [report.gate * x for x in octaves]
    lower = [-y for y in upper]
    gate = f"gate: slopes from -{report.gate} to {report.gate}"
    axes.fill_between(octaves, lower, upper, color=MUTED, alpha=0.15, lw=0, label=gate)
    for layer in report.layers:
        if layer.part != part:
            continue
        fails = layer.verdict == "fail"
        width, colour = (1.8, TARGET) if fails else (1.1, OTHER_COLOUR)
        heights = [size - layer.sizes[0] for size in layer.sizes]
        axes.plot(octaves, heights, "-o", ms=3, lw=width, color=colour)
    axes.plot([], [], "-", color=OTHER_COLOUR, label="layers that pass or are unresolved")
    axes.plot([], [], "-", color=TARGET, label="layers that fail")


def _name_failing_layers(axes: Axes, report: CoordinateReport, part: str) -> None:
    """Write the names of the steepest failing layers at the ends of their lines."""
    failing = [layer for layer in report.layers if layer.part == part and layer.verdict == "fail"]
    right = _octaves(report)[-1]
    low, high = axes.get_ylim()
    y = -math.inf
    for layer in sorted(failing[:MOST_NAMED], key=lambda layer: layer.sizes[-1] - layer.sizes[0]):
        # move the name up if it would overlap the name below
        y = max(y + LINE_HEIGHT * (high - low), layer.sizes[-1] - layer.sizes[0])
        text = f" {layer.layer} {layer.slope:+.2f}"
        axes.annotate(text, (right, y), fontsize=7, color=TARGET, va="center")


def _finish(axes: Axes, report: CoordinateReport) -> None:
    """Draw the ticks, labels and legend."""
    axes.set_xticks(_octaves(report), [str(width) for width in report.widths])
    axes.set_xlabel("width", fontsize=9, color=INK)
    label = "log2 of RMS change, minus its value at the narrowest width"
    axes.set_ylabel(label, fontsize=9, color=INK)
    axes.tick_params(labelsize=9, colors=INK)
    axes.grid(color=MUTED, alpha=0.15)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.legend(fontsize=8, frameon=False, loc="best", labelcolor=INK)
