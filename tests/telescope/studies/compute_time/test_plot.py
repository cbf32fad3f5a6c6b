"""The picture of an answer has the panels, colours and markers of its description."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import imread

from telescope.statistics.step_time import Origin
from telescope.statistics.token_ratio import Direction, Standing
from telescope.studies.compute_time import plot
from telescope.studies.compute_time.plot import COLOURS, draw
from telescope.studies.compute_time.rows import (
    BatchAnswer,
    BatchRow,
    BatchSummary,
    CriticalBatch,
    FrontierAnswer,
    FrontierRow,
    RatioAnswer,
    RatioRow,
)

BATCHES = (256, 512, 1024, 2048)


def frontier_row(
    optimizer: Any, devices: int, hours: float | None, censored: bool = False, best: bool = True
) -> FrontierRow:
    origin = Origin.MEASURED if devices == 1 else Origin.MODELLED
    return FrontierRow(
        optimizer,
        256,
        devices,
        hours,
        hours,
        hours,
        0.1,
        origin,
        None,
        censored,
        early=False,
        diverged=0,
        on_frontier=best,
    )


FRONTIER = FrontierAnswer(
    2.0,
    "as it was",
    tuple(
        frontier_row(name, n, size / n)
        for name, size in (("adamw", 12.0), ("muon", 9.0))
        for n in (1, 2, 4, 8)
    ),
    None,
    "",
)


def batch_row(optimizer: Any, batch: int, tokens: float, **changes: Any) -> BatchRow:
    numbers = {
        "tokens_low": tokens * 0.9,
        "tokens_high": tokens * 1.1,
        "steps": 1.0,
        "steps_low": 1.0,
        "steps_high": 1.0,
    }
    fates = {"reached": 3, "censored": 0, "early": 0, "diverged": 0}
    return BatchRow(
        optimizer,
        batch,
        tokens,
        **(numbers | fates | changes),
        on_frontier=True,
        lr=0.01,
        weight_decay=0.1,
        source="given",
    )


LAW = CriticalBatch("piecewise", 700.0, 600.0, 800.0, 1e6, 1.0, None, -0.4, None, None)
SIZES = BatchAnswer(
    2.0,
    "as it was",
    tuple(
        batch_row(name, b, size * max(1, b / 700))
        for name, size in (("adamw", 2e6), ("muon", 1e6))
        for b in BATCHES
    ),
    (BatchSummary("muon", 720.0, None, None, (LAW,)), BatchSummary("adamw", None, None, None, ())),
)
RATIO = RatioAnswer(
    2.0,
    "as it was",
    tuple(RatioRow(b, 1.2, 1.1, 1.3, 1.1, 1.0, 1e6, 0.0, 2e6, 3, Standing.AHEAD) for b in BATCHES),
    700.0,
    Direction.RISING,
    0.1,
    0.0,
    0.2,
    0.4,
    "",
)


def pixels(path: Path) -> Any:
    return np.round(imread(path)[..., :3] * 255).astype(int)


def panel(part: Any, *answers: Any) -> Axes:
    """One panel by itself."""
    axes = Figure().subplots()
    part(axes, *answers)
    return axes


def lines(axes: Axes, colour: str, marker: str, filled: bool) -> int:
    """The number of points with a marker of a colour, filled or hollow; markers in the legend do
    not count.
    """
    matches = [
        line
        for line in axes.lines
        if line.get_marker() == marker and to_hex(line.get_markeredgecolor()) == colour
    ]
    return sum(
        len(line.get_xdata())
        for line in matches
        if (to_hex(line.get_markerfacecolor()) == colour) is filled
    )


def labels(axes: Axes) -> list[str]:
    legend = axes.get_legend()
    return [text.get_text() for text in legend.get_texts()] if legend else []


def test_the_picture_is_a_png_with_three_panels_in_both_colours(tmp_path: Path) -> None:
    draw(FRONTIER, SIZES, RATIO, tmp_path / "a.png", "laws")
    picture = pixels(tmp_path / "a.png")
    assert picture.shape[1] > 2 * picture.shape[0]
    for third in np.array_split(picture, 3, axis=1):
        assert (third.min(-1) < 200).mean() > 0.004, "a third of the picture is blank"
    for colour in COLOURS.values():
        rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert (np.abs(picture - rgb).max(-1) <= 8).sum() > 300


def test_measured_steps_are_filled_and_modelled_ones_hollow() -> None:
    axes = panel(plot._draw_frontier, FRONTIER)
    for name, marker in plot.MARKERS.items():
        assert lines(axes, COLOURS[name], marker, filled=True) == 1
        assert lines(axes, COLOURS[name], marker, filled=False) == 3
    assert axes.get_xscale() == axes.get_yscale() == "log"
    drawn = [
        line
        for line in axes.lines
        if line.get_linestyle() == "-"
        and to_hex(line.get_color()) == COLOURS["muon"]
        and len(line.get_xdata())
    ]
    assert list(drawn[0].get_xdata()) == [1, 2, 4, 8]


def test_bounds_on_hours_are_arrows_and_join_no_line() -> None:
    rows = tuple(
        replace(row, censored=True, on_frontier=False, hours_high=None)
        if row.optimizer == "muon"
        else row
        for row in FRONTIER.rows
    )
    axes = panel(plot._draw_frontier, replace(FRONTIER, rows=rows))
    assert len([text for text in axes.texts if text.arrow_patch is not None]) == 4
    assert (
        lines(axes, COLOURS["muon"], "o", filled=True)
        + lines(axes, COLOURS["muon"], "o", filled=False)
        == 0
    )
    assert "Muon" not in labels(axes)
    assert any("did not reach the loss" in label for label in labels(axes))


def test_arrows_on_hours_point_to_where_the_truth_lies() -> None:
    censored, early, *rest = FRONTIER.rows
    bounds = (
        replace(censored, censored=True, on_frontier=False),
        replace(early, early=True, on_frontier=False),
    )
    axes = panel(plot._draw_frontier, replace(FRONTIER, rows=(*bounds, *rest)))
    arrows = [text for text in axes.texts if text.arrow_patch is not None]
    assert [text.xy[1] > row.hours for text, row in zip(arrows, bounds, strict=True)] == [
        True,
        False,
    ]
    assert any("at its first point" in label for label in labels(axes))


def test_hours_that_are_bounded_on_neither_side_have_two_arrows() -> None:
    row, *rest = FRONTIER.rows
    bound = replace(row, censored=True, early=True, on_frontier=False)
    axes = panel(plot._draw_frontier, replace(FRONTIER, rows=(bound, *rest)))
    arrows = [text for text in axes.texts if text.arrow_patch is not None]
    assert [text.xy[1] > (row.hours or 0.0) for text in arrows] == [True, False]


def test_an_answer_without_hours_says_what_they_need() -> None:
    axes = panel(plot._draw_frontier, replace(FRONTIER, rows=()))
    assert [text.get_text() for text in axes.texts] == [plot.NO_HOURS]


@pytest.mark.parametrize(("low", "bands"), [(600.0, 1), (0.0, 0)])
def test_the_band_of_a_critical_batch_needs_both_ends(low: float, bands: int) -> None:
    summary = replace(SIZES.optimizers[0], critical=(replace(LAW, low=low),))
    axes = panel(plot._draw_critical_batch, summary)
    assert len(axes.patches) == bands


def test_ratios_have_whiskers_and_the_line_at_one() -> None:
    axes = panel(plot._draw_ratio, RATIO)
    level = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert [set(line.get_ydata()) for line in level] == [{1.0}]
    ends = [list(line.get_ydata()) for line in axes.lines if line.get_marker() == "_"]
    assert ends == [[1.1, 1.3]] * len(BATCHES)
    assert lines(axes, plot.RATIO, "o", filled=True) == len(BATCHES)


def test_a_ratio_that_is_a_bound_is_hollow_with_arrows() -> None:
    bound = replace(RATIO.rows[0], pairs=0, ratio_low=0.0, ratio_high=None)
    axes = panel(plot._draw_ratio, replace(RATIO, rows=(bound, *RATIO.rows[1:])))
    assert len([text for text in axes.texts if text.arrow_patch is not None]) == 2
    assert lines(axes, plot.RATIO, "o", filled=False) == 1


def test_tokens_have_whiskers_arrows_on_bounds_and_the_critical_batch() -> None:
    censored = batch_row("muon", 256, 1e6, censored=1, reached=2, tokens_high=None)
    early = batch_row("muon", 512, 1e6, early=1, reached=2, tokens_low=None)
    rows = tuple(
        row
        for row in SIZES.rows
        if (row.optimizer, row.batch_tokens) not in (("muon", 256), ("muon", 512))
    )
    axes = panel(plot._draw_tokens, replace(SIZES, rows=(*rows, censored, early)))
    arrows = [text for text in axes.texts if text.arrow_patch is not None]
    assert [(text.xy[0], text.xy[1] > 1e6) for text in arrows] == [(256, True), (512, False)]
    assert lines(axes, COLOURS["muon"], "o", filled=False) == 2
    assert "critical batch B* of Muon: 700 tokens" in labels(axes)
    assert not any("B* of AdamW" in label for label in labels(axes))
    assert axes.get_yscale() == "log"


@pytest.mark.parametrize("note", ["a ratio needs runs of both optimizers", ""])
def test_an_answer_without_rows_can_be_drawn(tmp_path: Path, note: str) -> None:
    empty = RatioAnswer.without_rows(2.0, "", note)
    draw(
        replace(FRONTIER, rows=()),
        replace(SIZES, rows=(), optimizers=()),
        empty,
        tmp_path / "a.png",
    )
    assert (tmp_path / "a.png").stat().st_size > 10_000
    axes = panel(plot._draw_ratio, empty)
    assert (note or "no run reached the loss") in [text.get_text() for text in axes.texts]
