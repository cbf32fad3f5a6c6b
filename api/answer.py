"""How does an answer read?

First the answer in a sentence, then why it may be believed, then what to set where, what was seen at each width, and the bill.
`show` prints a report, `picture` writes it as PNG, `forecast` prints a preview. All read the documents that services send and
`telescope.studies.registry` writes, as the types of `telescope.studies`.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from rich.console import Console
from rich.table import Table

from api.view import TrialLike
from telescope import plots
from telescope.studies.preview import Preview, Span
from telescope.studies.report import Cost, Hyperparameter, Interval, LadderReport, LevelReport, Report

COLOURS = {"resolved": "green", "unresolved": "yellow", "unbracketed": "yellow", "refused": "red"}
OPTIMIZERS = {"muon": "Muon", "adamw": "AdamW"}
TRAINED = {"swept": "compared, not fitted", "fixed": "as given", "flat": "flat: the interval costs next to nothing"}


def typed(document: dict[str, Any]) -> Report:
    """The report that a document spells."""
    return TypeAdapter(Report).validate_python(document)


def target_width(study: dict[str, Any] | None) -> int:
    """The width that a study's document asks about."""
    return int((study or {})["model"]["target_width"])


def show(report: Report, target_width: int, console: Console) -> None:
    """Print a report, the best ladder first."""
    console.print()
    for ladder in sorted(report.ladders, key=lambda ladder: ladder.optimizer != report.best):
        several = len(report.ladders) > 1
        title = OPTIMIZERS[ladder.optimizer] + (" (the better one)" if several and ladder.optimizer == report.best else "")
        console.rule(f"[bold]{title}", align="left", style="dim")
        console.print(sentence(ladder, target_width), soft_wrap=True)
        state = "" if report.final else " so far"
        console.print(f"[{COLOURS[ladder.verdict]}]{ladder.verdict}[/]{state}: {ladder.reason}\n", soft_wrap=True)
        if ladder.hyperparameters:
            console.print(_hyperparameters(ladder), "", _groups(ladder, target_width), "", _levels(ladder), "", sep="\n")
        if drift := ladder.drift:
            moved = f"{drift.octaves_per_doubling:+.2f} octave per doubling of the width ({drift.low:+.2f} to {drift.high:+.2f})"
            console.print(f"The optimal learning rate drifts by {moved}.")
        console.print(bill(ladder.cost), soft_wrap=True)


def sentence(ladder: LadderReport, target_width: int) -> str:
    """The answer, or that there is none yet."""
    if not ladder.hyperparameters or ladder.verdict == "refused":
        return "No hyperparameters yet."
    lr = ladder.hyperparameters["lr"]
    found = [f"lr [bold]{lr.value:.3g}[/] (90 % interval {_interval(lr)})"]
    found += [f"{_words(name)} {one.value:.3g}" for name, one in ladder.hyperparameters.items() if name != "lr"]
    verb = "Train" if ladder.verdict == "resolved" else "Not settled; the best guess is to train"
    return f"{verb} width [bold]{target_width}[/] with {', '.join(found)}."


def bill(cost: Cost) -> str:
    """What finding out cost, and against what."""
    total = cost.final_run_flops + cost.flops
    tuning = f"{cost.trials} trials, {_amount(cost.tokens)} tokens, {_amount(cost.flops)}FLOP, {cost.seconds:.0f} s of training"
    against = f"the final run ({_amount(cost.final_run_flops)}FLOP) is {cost.share:.0%} of all {_amount(total)}FLOP"
    saving = (
        f"; sweeping the full grid at the target would have cost {1 / (1 - cost.saving):.1f} times as much" if 0 < cost.saving < 1 else ""
    )
    return f"Bill: {tuning}; {against}{saving}.\n"


def picture(report: Report, runs: Iterable[TrialLike], target_width: int, path: Path, title: str) -> None:
    """Write the study's picture."""
    runs = list(runs)
    plots.draw([_drawn(ladder, runs, target_width) for ladder in report.ladders], path, title)


def forecast(document: dict[str, Any], console: Console) -> None:
    """Print what a study would cost, by the document of its preview."""
    preview = TypeAdapter(Preview).validate_python(document)
    table = _table("", "width", "trials", "tokens", "FLOP")
    for ladder in preview.ladders:
        for level in ladder.levels:
            numbers = (str(level.width), str(level.trials), _amount(level.tokens), _amount(level.flops))
            table.add_row(OPTIMIZERS[ladder.optimizer], *numbers)
    table.add_section()
    for name in ("least", "expected", "most"):
        spans: tuple[Span, ...] = (preview.trials, preview.tokens, preview.flops)
        trials, tokens, flops = (getattr(span, name) for span in spans)
        table.add_row(name, "", f"{trials:.0f}", _amount(tokens), _amount(flops))
    console.print("Known beforehand, level by level; then the least, the expected and the most it can come to:", table)
    final = _amount(preview.final_run_flops)
    console.print(f"The final run at the target takes {final}FLOP, {preview.share:.0%} of it and the expected tuning together.")


# Tables


def _hyperparameters(ladder: LadderReport) -> Table:
    table = _table("hyperparameter", "value", "90 % interval", "half-width", "verdict")
    for name, one in ladder.hyperparameters.items():
        measured = one.status not in ("swept", "fixed")
        width = f"±{one.half_width:.2f} octave" if measured else ""
        table.add_row(_words(name), f"{one.value:.3g}", _interval(one) if measured else "", width, TRAINED.get(one.status, one.status))
    return table


def _groups(ladder: LadderReport, target_width: int) -> Table:
    table = _table(f"at width {target_width}", "optimizer", "lr", "decay", "eps", "init std", "multiplier", "parameters")
    for group in ladder.parameter_groups:
        effective = (group.scaled_lr, group.weight_decay, group.eps, group.init_std, group.multiplier)
        table.add_row(str(group.role), OPTIMIZERS[group.optimizer], *map(_three, effective), f"{group.parameters:,}")
    return table


def _three(value: float | None) -> str:
    """Three digits, or nothing."""
    return "" if value is None else f"{value:.3g}"


def _levels(ladder: LadderReport) -> Table:
    table = _table("width", "trials", "lr tried", "optimum", "90 % interval", "best loss", "noise", "edge")
    for level in ladder.levels:
        trials = f"{level.trials} ({level.diverged} diverged)" if level.diverged else str(level.trials)
        interval = level.interval.get("lr")
        table.add_row(
            str(level.width),
            trials,
            _range(level.window["lr"]),
            f"{level.optimum['lr']:.3g}",
            _range(interval) if interval else "",
            "" if level.best_loss is None else f"{level.best_loss:.4f}",
            "" if level.seed_noise is None else f"{level.seed_noise:.2f} %",
            level.edge or "",
        )
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(first)
    for title in others:
        table.add_column(title, justify="right" if title not in ("verdict", "optimizer", "edge") else "left", overflow="fold")
    return table


def _interval(one: Interval | Hyperparameter) -> str:
    return f"{one.low:.3g} to {one.high:.3g}"


def _range(one: Interval) -> str:
    return f"{one.low:.3g}–{one.high:.3g}"


def _words(name: str) -> str:
    return "lr" if name == "lr" else name.replace("_", " ")


def _amount(number: float) -> str:
    """With an SI prefix: 7.37 M, 1.2 T; the unit follows."""
    for prefix in ("", "k", "M", "G", "T", "P", "E"):
        if number < 1000:
            return f"{number:.3g} {prefix}"
        number /= 1000
    return f"{number:.3g} Z"


# Picture


def _drawn(ladder: LadderReport, runs: list[TrialLike], target_width: int) -> plots.Ladder:
    ended = [run for run in runs if run.optimizer == ladder.optimizer and (run.loss is not None or run.diverged)]
    lr = ladder.hyperparameters.get("lr")
    return plots.Ladder(
        optimizer=OPTIMIZERS[ladder.optimizer],
        verdict=ladder.verdict,
        levels=tuple(map(_drawn_level, ladder.levels)),
        runs=tuple(plots.Run(run.width, run.lr, run.weight_decay, run.seed, run.loss) for run in ended),
        target_width=target_width,
        target=plots.Estimate(lr.low, lr.value, lr.high) if lr else None,
    )


def _drawn_level(level: LevelReport) -> plots.Level:
    window, interval, value = level.window["lr"], level.interval.get("lr"), level.optimum["lr"]
    low, high = (interval.low, interval.high) if interval else (value, value)
    return plots.Level(level.width, window.low, window.high, plots.Estimate(low, value, high), level.best_loss)
