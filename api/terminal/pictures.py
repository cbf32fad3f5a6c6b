"""Plots of telescoping reports and of judged sweeps, as PNG files.

`plot_report` plots the report of a job. `plot_judgement` plots a sweep that `telescope judge` has
judged. Both convert their input to the values that `telescope.studies.telescoping.plot` draws: for
each ladder (the runs of one optimizer at increasing widths), the loss of each run against its
learning rate, the optimum at each width, and the estimate for the target width.
"""

from collections.abc import Iterable
from pathlib import Path

from api.terminal.progress import TrialLike
from api.terminal.words import ladder_name
from telescope.studies.telescoping import plot, plot_data
from telescope.studies.telescoping.evidence import LevelReport, Validation
from telescope.studies.telescoping.judge.judge import Judgement
from telescope.studies.telescoping.judge.sweep import SweepRun
from telescope.studies.telescoping.report import LadderReport, Report
from telescope.studies.telescoping.schedules.validation import SEEDS as VALIDATION_SEEDS


def plot_report(
    report: Report, runs: Iterable[TrialLike], target_width: int, path: Path, title: str
) -> None:
    """Plot the report of a job to a PNG file."""
    runs = list(runs)
    sweep_over = report.comparison.over if report.comparison else None
    ladders = [plotted_ladder(ladder, runs, target_width) for ladder in report.ladders]
    plot.draw(ladders, path, title, sweep_over)


def plot_judgement(judgement: Judgement, rows: Iterable[SweepRun], path: Path, title: str) -> None:
    """Plot a judged sweep to a PNG file."""
    runs = tuple(
        plot_data.PlottedRun(
            row.width, row.lr, row.weight_decay or 0.0, row.seed, row.loss if row.finite else None
        )
        for row in rows
    )
    lr = judgement.hyperparameters.get("lr")
    levels = tuple(map(_plotted_level, judgement.levels))
    target = plot_data.PlottedEstimate(lr.low, lr.value, lr.high) if lr else None
    width = judgement.target_width
    ladder = plot_data.PlottedLadder(
        "sweep", judgement.verdict, levels, runs, width, target, "loss"
    )
    plot.draw([ladder], path, title)


def plotted_ladder(
    ladder: LadderReport, runs: list[TrialLike], target_width: int
) -> plot_data.PlottedLadder:
    """Convert one ladder to the values to draw. `runs` holds the runs of all ladders of the job."""
    key = (ladder.optimizer, ladder.variant, "loss")
    own_runs = [run for run in runs if (run.optimizer, run.variant or "", run.measure) == key]
    ended = [run for run in own_runs if run.loss is not None or run.diverged]
    validation_lrs = [run.lr for run in ended if run.seed in VALIDATION_SEEDS]
    lr = ladder.hyperparameters.get("lr")
    return plot_data.PlottedLadder(
        name=ladder_name(ladder.optimizer, ladder.variant),
        verdict=ladder.verdict,
        levels=(
            *map(_plotted_level, ladder.levels),
            *_plotted_validation(ladder.validation, validation_lrs),
        ),
        runs=tuple(
            plot_data.PlottedRun(run.width, run.lr, run.weight_decay, run.seed, run.loss)
            for run in ended
        ),
        target_width=target_width,
        target=plot_data.PlottedEstimate(lr.low, lr.value, lr.high) if lr else None,
    )


def _plotted_validation(
    validation: Validation | None, lrs: list[float]
) -> tuple[plot_data.PlottedLevel, ...]:
    """Return the validation runs, which train at the target width, as a further level to draw.

    The tuple is empty if there are no such runs, or if they show no optimum.
    """
    if validation is None or not lrs:
        return ()
    value, interval, loss = validation.optimum, validation.interval, validation.loss
    if value is None or interval is None:
        return ()
    lowest_loss = loss / (1 + (validation.regret or 0) / 100) if loss else None
    optimum = plot_data.PlottedEstimate(interval.low, value, interval.high)
    return (plot_data.PlottedLevel(validation.width, min(lrs), max(lrs), optimum, lowest_loss),)


def _plotted_level(level: LevelReport) -> plot_data.PlottedLevel:
    window, interval, value = level.window["lr"], level.interval.get("lr"), level.optimum.get("lr")
    if value is None:
        return plot_data.PlottedLevel(level.width, window.low, window.high, None, level.best_loss)
    low, high = (interval.low, interval.high) if interval else (value, value)
    optimum = plot_data.PlottedEstimate(low, value, high)
    return plot_data.PlottedLevel(level.width, window.low, window.high, optimum, level.best_loss)
