"""The tables of a telescoping report.

A report has one or more ladders. A ladder consists of the runs of one optimizer at increasing
widths, and these widths are called levels. There are three tables about a ladder: the
hyperparameters for the target width, the settings of each parameter group at the target width, and
the levels. `telescope judge` prints the first and the last of these tables, too.
"""

from collections.abc import Iterable

from rich.table import Table

from api.terminal.words import empty_table, field_words, significant
from telescope.studies.telescoping.axes import AxisName
from telescope.studies.telescoping.evidence import Hyperparameter, Interval, LevelReport
from telescope.studies.telescoping.judge.judge import Judgement
from telescope.studies.telescoping.report import LadderReport
from telescope.trials.types import OPTIMIZER_TITLES

STATUSES = {
    "swept": "best of the values tried, without a fit",
    "fixed": "given, not tuned",
    "flat": "flat: over the interval, loss rises by at most 0.2 %, or by a run's noise if larger",
}


def hyperparameter_table(ladder: LadderReport | Judgement) -> Table:
    """Return the table of the values and intervals of a ladder's hyperparameters.

    The half-width of an interval is in octaves (factors of 2).
    """
    table = empty_table("hyperparameter", "value", "90 % interval", "half-width", "verdict")
    for name, estimate in ladder.hyperparameters.items():
        interval = half_width = ""
        if is_measured(estimate):
            interval, half_width = interval_text(estimate), f"±{estimate.half_width:.2f} octave"
        status = STATUSES.get(estimate.status, estimate.status)
        table.add_row(field_words(name), f"{estimate.value:.3g}", interval, half_width, status)
    return table


def is_measured(estimate: Hyperparameter) -> bool:
    """Return whether the value of the hyperparameter was fitted and has an interval."""
    return estimate.has_interval and estimate.status not in ("swept", "fixed")


def parameter_group_table(ladder: LadderReport, target_width: int) -> Table:
    """Return the table of the settings at the target width, with one row per parameter group.

    A parameter group holds the parameters that train with the same settings.
    """
    columns = ("optimizer", "lr", "decay", "eps", "init std", "multiplier", "parameters", "layers")
    table = empty_table(f"at width {target_width}", *columns)
    for group in ladder.parameter_groups:
        table.add_row(
            str(group.role),
            OPTIMIZER_TITLES[group.optimizer],
            significant(group.scaled_lr),
            significant(group.weight_decay),
            significant(group.eps),
            significant(group.init_std),
            significant(group.multiplier),
            f"{group.parameters:,}",
            _layers(group.names),
        )
    return table


def _layers(names: Iterable[str]) -> str:
    """Return the distinct last parts of parameter names, such as `query, key, value`."""
    last_parts = (name.removesuffix(".weight").rpartition(".")[2] for name in names)
    return ", ".join(dict.fromkeys(last_parts))


def level_table(ladder: LadderReport | Judgement) -> Table:
    """Return the table of the trials and the optimum at each width, with one row per width.

    The column `noise` is the standard deviation of the loss between seeds, in % of the loss. The
    column `edge` names the ends of the tried ranges at which the optimum lies. It is empty if the
    optimum lies at no end.
    """
    other_axes = [name for name in ladder.levels[0].window if name != "lr"]
    table = empty_table(
        "width",
        "trials",
        "lr tried",
        "optimum",
        "90 % interval",
        *[f"best {field_words(name)}" for name in other_axes],
        "best loss",
        "noise",
        "edge",
    )
    for level in ladder.levels:
        trials = (
            f"{level.trials} ({level.diverged} diverged)" if level.diverged else str(level.trials)
        )
        interval = level.interval.get("lr")
        table.add_row(
            str(level.width),
            trials,
            range_text(level.window["lr"]),
            significant(level.optimum.get("lr")),
            range_text(interval) if interval else "",
            *[_optimum(ladder, level, name) for name in other_axes],
            "" if level.best_loss is None else f"{level.best_loss:.4f}",
            "" if level.seed_noise is None else f"{level.seed_noise:.2f} %",
            level.edge or "",
        )
    return table


def _optimum(ladder: LadderReport | Judgement, level: LevelReport, name: AxisName) -> str:
    """Return the optimal value of a hyperparameter at a level.

    If the hyperparameter is unbracketed (its optimum lies beyond the values that were tried), the
    text also contains the range of values that was tried.
    """
    value, estimate = significant(level.optimum.get(name)), ladder.hyperparameters.get(name)
    if estimate and estimate.status == "unbracketed":
        return f"{value} (tried {range_text(level.window[name])})"
    return value


def interval_text(interval: Interval | Hyperparameter) -> str:
    return f"{interval.low:.3g} to {interval.high:.3g}"


def range_text(interval: Interval) -> str:
    return f"{interval.low:.3g}–{interval.high:.3g}"
