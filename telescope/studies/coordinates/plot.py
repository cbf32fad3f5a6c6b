"""The picture of a coordinate check.

It has a row per ladder and a line per layer: log2 of the RMS change after the check's steps,
against width, mean over seeds, beginning at zero so that slopes can be compared. On the left is the
change of each layer's output, on the right the contribution of its own update. The shaded wedge is
the gate: a line that leaves it grows or shrinks too fast with width. Failing layers are named.

Parts: `draw`.
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

PARTS = {"moved": "change of outputs", "own": "contribution of own updates"}
PASSES = "#2a788e"
NAMED = 6  # lines at most
LINE_HEIGHT = 0.035  # of the axis


def draw(reports: Mapping[str, CoordinateReport], path: Path, title: str = "") -> None:
    """Write the picture as PNG, a row per ladder."""
    figure = Figure(
        figsize=(12.5, 0.7 + 4.6 * len(reports)), layout="constrained", facecolor="white"
    )
    if title:
        figure.suptitle(title, fontsize=13, fontweight="bold", color=INK)
    grid = figure.subplots(len(reports), 2, squeeze=False)
    for row, (name, report) in zip(grid, reports.items(), strict=True):
        for axes, (part, words) in zip(row, PARTS.items(), strict=True):
            _layers(axes, report, part)
            axes.set_title(f"{name}, {words}: {report.verdict}", loc="left", fontsize=11, color=INK)
    figure.savefig(path, format="png", dpi=140)


def _layers(axes: Axes, report: CoordinateReport, part: str) -> None:
    """A line per layer, and the gate's wedge."""
    octaves = [math.log2(width / report.widths[0]) for width in report.widths]
    limit = [report.gate * x for x in octaves]
    axes.fill_between(
        octaves,
        [-y for y in limit],
        limit,
        color=MUTED,
        alpha=0.15,
        lw=0,
        label=f"gate: slopes of ±{report.gate}",
    )
    layers = [layer for layer in report.layers if layer.part == part]
    for layer in layers:
        fails = layer.verdict == "fail"
        heights = [size - layer.sizes[0] for size in layer.sizes]
        axes.plot(
            octaves,
            heights,
            "-o",
            ms=3,
            lw=1.8 if fails else 1.1,
            color=TARGET if fails else PASSES,
        )
    low, high = axes.get_ylim()
    place = -math.inf
    for layer in sorted(
        [layer for layer in layers if layer.verdict == "fail"][:NAMED],
        key=lambda layer: layer.sizes[-1] - layer.sizes[0],
    ):
        # names must not overlap
        place = max(place + LINE_HEIGHT * (high - low), layer.sizes[-1] - layer.sizes[0])
        axes.annotate(
            f" {layer.layer} {layer.slope:+.2f}",
            (octaves[-1], place),
            fontsize=7,
            color=TARGET,
            va="center",
        )
    axes.plot([], [], "-", color=PASSES, label="layers that pass or are unresolved")
    axes.plot([], [], "-", color=TARGET, label="layers that fail")
    axes.set_xticks(octaves, [str(width) for width in report.widths])
    axes.set_xlabel("width", fontsize=9, color=INK)
    axes.set_ylabel("log2 RMS, from the narrowest width", fontsize=9, color=INK)
    axes.tick_params(labelsize=9, colors=INK)
    axes.grid(color=MUTED, alpha=0.15)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.legend(fontsize=8, frameon=False, loc="best", labelcolor=INK)
