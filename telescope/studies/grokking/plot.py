"""The pictures of a grokking study.

`draw` makes one picture of all cells. A *cell* is a task with a variant of softmax. A run has
generalised once its accuracy on the held-out rows is at least 95 % at several evaluations in a row.
Each cell has a row with two panels, and a panel on the right compares the cells:

- The left panel shows survival curves: the share of runs that have not yet generalised, against
  steps, with 90 % intervals. A tick at the end of a curve marks that some runs never generalised.
- The middle panel shows every run as a marker, with a line between the two runs of each seed. The
  markers of runs that never generalised are hollow, and lie on the dashed line at the budget.
- The right panel shows AdamW's mean time divided by Muon's, per cell, with 90 % intervals: in
  steps, FLOPs and seconds. To the right of the line at 1, Muon is faster.

`draw_ratios` makes a picture of the right panel alone. `draw_run` makes a picture of one run:
accuracies, losses, norms and the largest logit.

Most colours are from the palette of Okabe and Ito, which suits colour-blind readers. In the
middle and right panels, optimizers and units also differ in their markers.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from telescope.errors import Conflict
from telescope.extras import extra
from telescope.statistics.survival import Durations, kaplan_meier
from telescope.studies.grokking.reasons import CellName
from telescope.studies.grokking.report import GrokkingReport
from telescope.studies.grokking.rows import CellRow, RunRow
from telescope.studies.grokking.runs import Unit
from telescope.studies.grokking.wording import cell_title, verdict_words
from telescope.studies.style import INK, MUTED
from telescope.trials.milestones import ACCURACY, GENERALISED, TRAIN_ACCURACY
from telescope.trials.outcome import Measurement
from telescope.trials.types import OPTIMIZER_TITLES, OptimizerName

with extra("plots"):
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter

COLOURS: dict[OptimizerName, str] = {"muon": "#0072b2", "adamw": "#d55e00"}
MARKERS: dict[OptimizerName, str] = {"muon": "o", "adamw": "s"}
UNIT_STYLES: dict[Unit, tuple[str, str]] = {
    "steps": ("o", "#009e73"),
    "flops": ("D", "#cc79a7"),
    "seconds": ("^", "#7a828c"),
}
UNIT_TITLES: dict[Unit, str] = {"steps": "steps", "flops": "FLOPs", "seconds": "seconds"}
LEAST_HEIGHT = 4.6  # least height of a picture, in inches
CELL_HEIGHT = 2.7  # height of a cell in the picture of all cells, in inches
RATIO_HEIGHT = 0.5  # height of a cell in the picture of ratios, in inches
LEGEND = {"fontsize": 8, "frameon": False, "labelcolor": INK}


def draw(report: GrokkingReport, path: Path, name: str = "") -> None:
    """Write the picture of all cells as PNG."""
    cells = [cell for cell in report.cells if cell.event == "sustained"]
    height = max(LEAST_HEIGHT, CELL_HEIGHT * len(cells) + 0.8)
    figure = Figure(figsize=(17, height), layout="constrained", facecolor="white")
    prefix = f"{name}: " if name else ""
    title = f"{prefix}steps to sustained generalisation — {verdict_words(report.verdict)}"
    if not report.final:
        title = f"{title} (preliminary)"
    figure.suptitle(title, fontsize=13, fontweight="bold", color=INK)
    grid = figure.add_gridspec(len(cells), 3, width_ratios=(1.1, 1.1, 1))
    for row, cell in enumerate(cells):
        runs = runs_of(report, cell)
        draw_survival(figure.add_subplot(grid[row, 0]), cell, runs)
        draw_strip(figure.add_subplot(grid[row, 1]), cell, runs)
    draw_forest(figure.add_subplot(grid[:, 2]), cells)
    figure.savefig(path, format="png", dpi=120)


def draw_ratios(report: GrokkingReport, path: Path, name: str = "") -> None:
    """Write the picture of the ratios alone as PNG. It suits studies of many cells."""
    cells = [cell for cell in report.cells if cell.event == "sustained"]
    height = max(LEAST_HEIGHT, RATIO_HEIGHT * len(cells) + 1.2)
    figure = Figure(figsize=(10, height), layout="constrained", facecolor="white")
    prefix = f"{name}: " if name else ""
    figure.suptitle(f"{prefix}sustained generalisation", fontsize=13, color=INK)
    draw_forest(figure.add_subplot(), cells)
    figure.savefig(path, format="png", dpi=120)


def runs_of(report: GrokkingReport, cell: CellRow) -> list[RunRow]:
    """The finished runs of a cell, without its tuning runs."""
    return [
        run
        for run in report.runs
        if (run.task, run.softmax, run.stage) == (cell.task, cell.softmax, "runs")
    ]


def draw_survival(axes: Axes, cell: CellRow, runs: Sequence[RunRow]) -> None:
    """Draw the survival curve of each optimizer."""
    title = cell_title(CellName(task=cell.task, softmax=cell.softmax))
    set_style(axes, f"{title}: {verdict_words(cell.verdict)}", "steps", "runs not generalised yet")
    for name, colour in COLOURS.items():
        own = [run for run in runs if run.optimizer == name]
        if not own:
            continue
        curve = kaplan_meier(
            Durations.of([run.sustained_steps for run in own], float(cell.budget_steps))
        )
        steps = np.concatenate([[0.0], curve.times, [cell.budget_steps]])
        low, share, high = (
            np.concatenate([[1.0], values, values[-1:]])
            for values in (curve.low, curve.share, curve.high)
        )
        reached = sum(run.sustained_steps is not None for run in own)
        label = f"{OPTIMIZER_TITLES[name]}: {reached} of {len(own)} generalised"
        axes.step(steps, share, where="post", color=colour, lw=1.8, label=label)
        axes.fill_between(steps, low, high, step="post", color=colour, alpha=0.12, lw=0)
        if reached < len(own):
            axes.plot([cell.budget_steps], share[-1:], "|", color=colour, ms=12, mew=2)
    axes.set_ylim(-0.03, 1.05)
    axes.set_xlim(0, cell.budget_steps * 1.03)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    if runs:
        axes.legend(**LEGEND, loc="best")


def draw_strip(axes: Axes, cell: CellRow, runs: Sequence[RunRow]) -> None:
    """Draw every run as a marker, and a line between the two runs of a seed."""
    set_style(axes, "every run, joined by seed", "steps to sustained generalisation", "")
    heights: dict[str, float] = {"muon": 1.0, "adamw": 0.0}
    seeds = sorted({run.seed for run in runs})
    for i, seed in enumerate(seeds):
        shift = 0.5 * (i / max(1, len(seeds) - 1) - 0.5)
        pair = [run for run in runs if run.seed == seed]
        points = [(shown_steps(run, cell), heights[run.optimizer] + shift) for run in pair]
        if len(points) > 1:
            axes.plot(*zip(*points, strict=True), "-", color=MUTED, lw=0.7, alpha=0.6, zorder=1)
        for run, (x, y) in zip(pair, points, strict=True):
            colour = COLOURS[run.optimizer]
            face = "white" if run.sustained_steps is None else colour
            marker = MARKERS[run.optimizer]
            axes.plot([x], [y], marker, color=face, mec=colour, mew=1.4, ms=6, zorder=3)
    axes.axvline(cell.budget_steps, color=MUTED, lw=1.0, ls="--")
    earliest = min([shown_steps(run, cell) for run in runs], default=cell.budget_steps / 10)
    set_log_scale(axes, (1.0, 2.0, 5.0))
    axes.set_xlim(min(earliest, cell.budget_steps / 2) / 1.2, cell.budget_steps * 1.2)
    axes.set_yticks(list(heights.values()), [OPTIMIZER_TITLES[name] for name in heights])
    axes.set_ylim(-0.5, 1.5)


def shown_steps(run: RunRow, cell: CellRow) -> float:
    """The place of a run on the axis of steps: the cell's budget if the run never generalised."""
    return float(cell.budget_steps if run.sustained_steps is None else run.sustained_steps)


def draw_forest(axes: Axes, cells: Sequence[CellRow]) -> None:
    """Draw the ratios of all cells with their intervals."""
    title = "AdamW's mean time / Muon's: right of 1, Muon is faster"
    set_style(axes, title, "ratio, with 90 % interval", "")
    axes.axvline(1.0, color=MUTED, lw=1.2, ls="--")
    labels = []
    for row, cell in enumerate(cells):
        name = cell_title(CellName(task=cell.task, softmax=cell.softmax))
        p = "" if cell.p_holm is None else f"\np {cell.p_holm:.2g}, {cell.pairs} pairs"
        labels.append(f"{name}{p}")
        if not cell.ratios:
            note = "no run generalised" if cell.pairs else "no finished pair of runs"
            style = {"fontsize": 8, "color": MUTED, "va": "center"}
            axes.text(1.02, -row, note, fontdict=style)
        for ratio in cell.ratios:
            marker, colour = UNIT_STYLES[ratio.unit]
            y = -row + 0.22 * (1 - list(UNIT_STYLES).index(ratio.unit))
            if ratio.high is not None:  # a single pair has no interval
                axes.plot([ratio.low, ratio.high], [y, y], "-", color=colour, lw=1.6)
            axes.plot([ratio.ratio], [y], marker, color=colour, ms=6)
    axes.set_yticks([-row for row in range(len(cells))], labels, fontsize=8)
    axes.set_ylim(0.6 - len(cells), 0.6)
    set_log_scale(axes, (1.0, 1.5, 2.0, 3.0, 5.0, 8.0))
    if any(cell.ratios for cell in cells):
        for unit, (marker, colour) in UNIT_STYLES.items():
            axes.plot([], [], marker, color=colour, ms=6, label=UNIT_TITLES[unit])
        axes.legend(**LEGEND, loc="best")
    else:
        axes.set_xlim(0.5, 2.0)


def draw_run(curve: Sequence[Measurement], path: Path, name: str = "") -> None:
    """Write the picture of one run as PNG. Raises Conflict if the curve has no evaluation."""
    points = [point for point in curve if ACCURACY in point.metrics]
    if not points:
        raise Conflict("the run has not been evaluated yet; plot it again later")
    figure = Figure(figsize=(14, 8), layout="constrained", facecolor="white")
    figure.suptitle(name or "one run", fontsize=13, fontweight="bold", color=INK)
    panels = figure.subplots(2, 2)
    for axes, (title, metrics) in zip(panels.flat, RUN_PANELS.items(), strict=True):
        set_style(axes, title, "steps", "")
        for metric, (label, colour, line) in metrics.items():
            own = [(p.step, p.metrics[metric]) for p in points if metric in p.metrics]
            if own:
                axes.plot(*zip(*own, strict=True), line, color=colour, lw=1.6, label=label)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(**LEGEND, loc="best")
    panels[0, 0].axhline(GENERALISED, color=MUTED, lw=1.0, ls=":")
    panels[0, 0].set_ylim(-0.03, 1.03)
    panels[0, 1].set_yscale("log")
    figure.savefig(path, format="png", dpi=120)


RUN_PANELS: dict[str, dict[str, tuple[str, str, str]]] = {
    "accuracy": {
        TRAIN_ACCURACY: ("training rows", "#0072b2", "-"),
        ACCURACY: ("held-out rows", "#d55e00", "-"),
        "unmirrored_accuracy": ("held-out rows without a mirror in training", "#d55e00", ":"),
        "balanced_accuracy": ("held-out rows, mean over answers", "#cc79a7", "--"),
    },
    "loss (logarithmic)": {
        "train_rows_loss": ("training rows", "#0072b2", "-"),
        "loss": ("held-out rows", "#d55e00", "-"),
    },
    "size of the weights": {
        "norm/hidden": ("norm of hidden matrices", "#0072b2", "-"),
        "norm/embedding": ("norm of embeddings", "#d55e00", "-"),
        "norm/readout": ("norm of the head", "#009e73", "-"),
        "singular/hidden": ("largest singular value", "#cc79a7", "--"),
    },
    "largest logit": {
        "largest_logit": ("largest logit", "#0072b2", "-"),
    },
}
"""The panels of `draw_run`: the label, the colour and the line style of each metric."""


def set_log_scale(axes: Axes, ticks: Sequence[float]) -> None:
    """Make the horizontal axis logarithmic, with these labelled ticks in each decade."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=ticks))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def set_style(axes: Axes, title: str, x_label: str, y_label: str) -> None:
    """Set the title, the labels and the frame of a panel."""
    axes.set_title(title, fontsize=10, loc="left", color=INK)
    axes.set_xlabel(x_label, fontsize=9, color=INK)
    axes.set_ylabel(y_label, fontsize=9, color=INK)
    axes.tick_params(labelsize=8, colors=INK)
    axes.grid(True, color="#e6e8eb", lw=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
