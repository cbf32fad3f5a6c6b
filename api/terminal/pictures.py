"""Plots of telescoping reports and of judged sweeps, as PNG files."""

from collections.abc import Iterable
from pathlib import Path

from api.terminal.progress import TrialLike
from api.terminal.words import ladder as _name
from telescope.studies.telescoping import plot, plot_data
from telescope.studies.telescoping.evidence import LevelReport, Validation
from telescope.studies.telescoping.judge.judge import Judgement
from telescope.studies.telescoping.judge.sweep import Row
from telescope.studies.telescoping.report import LadderReport, Report
from telescope.studies.telescoping.schedules.validation import SEEDS as VALIDATION_SEEDS


def plot_report(
    report: Report, runs: Iterable[TrialLike], target_width: int, path: Path, title: str
) -> None:
    """Plot a study's report to a file."""
    runs = list(runs)
    over = report.comparison.over if report.comparison else None
    plot.draw(
        [plotted_ladder(ladder, runs, target_width) for ladder in report.ladders], path, title, over
    )


def picture_of_sweep(found: Judgement, rows: Iterable[Row], path: Path, title: str) -> None:
    """Plot a judged sweep to a file."""
    runs = tuple(
        plot_data.PlottedRun(
            row.width, row.lr, row.weight_decay or 0.0, row.seed, row.loss if row.finite else None
        )
        for row in rows
    )
    lr = found.hyperparameters.get("lr")
    levels = tuple(map(_drawn_level, found.levels))
    target = plot_data.PlottedEstimate(lr.low, lr.value, lr.high) if lr else None
    width = found.target_width
    ladder = plot_data.PlottedLadder("sweep", found.verdict, levels, runs, width, target, "loss")
    plot.draw([ladder], path, title)


def plotted_ladder(
    ladder: LadderReport, runs: list[TrialLike], target_width: int
) -> plot_data.PlottedLadder:
    """The plot of one ladder; `runs` are those of the whole job."""
    own = (ladder.optimizer, ladder.variant, "loss")
    ours = [run for run in runs if (run.optimizer, run.variant or "", run.measure) == own]
    ended = [run for run in ours if run.loss is not None or run.diverged]
    lr = ladder.hyperparameters.get("lr")
    return plot_data.PlottedLadder(
        name=_name(ladder.optimizer, ladder.variant),
        verdict=ladder.verdict,
        levels=(
            *map(_drawn_level, ladder.levels),
            *_drawn_validation(
                ladder.validation, [run.lr for run in ended if run.seed in VALIDATION_SEEDS]
            ),
        ),
        runs=tuple(
            plot_data.PlottedRun(run.width, run.lr, run.weight_decay, run.seed, run.loss)
            for run in ended
        ),
        target_width=target_width,
        target=plot_data.PlottedEstimate(lr.low, lr.value, lr.high) if lr else None,
    )


def _drawn_validation(
    found: Validation | None, rates: list[float]
) -> tuple[plot_data.PlottedLevel, ...]:
    """The runs at the target as the last level, if they show an optimum."""
    if found is None or found.optimum is None or found.interval is None or not rates:
        return ()
    floor = found.loss / (1 + (found.regret or 0) / 100) if found.loss else None
    optimum = plot_data.PlottedEstimate(found.interval.low, found.optimum, found.interval.high)
    return (plot_data.PlottedLevel(found.width, min(rates), max(rates), optimum, floor),)


def _drawn_level(level: LevelReport) -> plot_data.PlottedLevel:
    window, interval, value = level.window["lr"], level.interval.get("lr"), level.optimum.get("lr")
    if value is None:
        return plot_data.PlottedLevel(level.width, window.low, window.high, None, level.best_loss)
    low, high = (interval.low, interval.high) if interval else (value, value)
    return plot_data.PlottedLevel(
        level.width,
        window.low,
        window.high,
        plot_data.PlottedEstimate(low, value, high),
        level.best_loss,
    )
