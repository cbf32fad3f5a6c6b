"""Terminal output of a telescoping report.

It states the result in a sentence, the verdict with its reason, the values to set per parameter
group, the evidence at each width, and the cost. `show` prints a report, from the types of
`telescope.studies.telescoping.report`; `parse_report` parses them from a document.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import TypeAdapter
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from api.terminal import evidence, variants
from api.terminal.words import COLOURS
from api.terminal.words import amount as _amount
from api.terminal.words import empty_table as _table
from api.terminal.words import field_words as _words
from api.terminal.words import ladder as _name
from telescope.studies.telescoping.axes import AxisName
from telescope.studies.telescoping.evidence import (
    Cost,
    Drift,
    Hyperparameter,
    Interval,
    LevelReport,
    Method,
    Pairing,
    Validation,
)
from telescope.studies.telescoping.judge.judge import Judgement
from telescope.studies.telescoping.report import LadderReport, Report
from telescope.trials.types import OPTIMIZER_TITLES

TRAINED = {
    "swept": "compared, not fitted",
    "fixed": "as given",
    "flat": "flat: no value in the interval costs more than the noise",
}


def parse_report(document: dict[str, Any]) -> Report:
    """Parse a report's document."""
    return TypeAdapter(Report).validate_python(document)


def target_width(study: dict[str, Any] | None) -> int:
    """The target width in a study's document."""
    return int((study or {})["model"]["target_width"])


def show(report: Report, target_width: int, console: Console) -> None:
    """Print a report: the comparison of variants, then the ladders, the best first."""
    console.print()
    if report.comparison:
        variants.show_comparison(report, console)
    for ladder, is_best in ranked(report):
        title = _name(ladder.optimizer, ladder.variant) + (" (the better one)" if is_best else "")
        console.rule(f"[bold]{title}", align="left", style="dim")
        if ladder.differs:
            console.print(
                f"[dim]{ladder.variant}: {escape(variants.otherwise(ladder))}.[/]", soft_wrap=True
            )
        console.print(result_sentence(ladder, target_width), soft_wrap=True)
        state = "" if report.final else " so far"
        console.print(
            f"[{COLOURS[ladder.verdict]}]{ladder.verdict}[/]{state}: {ladder.reason}\n",
            soft_wrap=True,
        )
        if ladder.hyperparameters:
            console.print(_hyperparameters(ladder), "", _groups(ladder, target_width), "", sep="\n")
        if ladder.levels:
            console.print(_levels(ladder), "", sep="\n")
        if drift := ladder.drift:
            console.print(drifts(drift), soft_wrap=True)
        console.print(
            *evidence.sentences(ladder), *coordinate_checks(ladder), sep="\n", soft_wrap=True
        )
        if ladder.error_budget:
            console.print("", evidence.error_budget_table(ladder), "", sep="\n")
        if ladder.validation:
            console.print(at_the_target(ladder.validation), soft_wrap=True)
        if ladder.method:
            console.print(method_text(ladder.method), soft_wrap=True)
        if importance := evidence.importance(ladder):
            console.print(importance, soft_wrap=True)
        console.print(scaling_rules(ladder.pairing), soft_wrap=True)
        if ladder.hyperparameters:
            console.print(
                "Assumptions:",
                *(f"[dim]- {each}[/]" for each in ladder.assumptions),
                sep="\n",
                soft_wrap=True,
            )
        console.print(bill(ladder.cost), soft_wrap=True)


def ranked(report: Report) -> Iterator[tuple[LadderReport, bool]]:
    """Yield ladders grouped by variant, the best optimizer's first.

    Each comes with True if it is the better one of several.
    """
    best = {variant.name: variant.best for variant in report.variants} or {"": report.best}
    for variant, optimizer in best.items():
        ours = [ladder for ladder in report.ladders if ladder.variant == variant]
        for ladder in sorted(ours, key=lambda ladder: ladder.optimizer != optimizer):
            yield ladder, len(ours) > 1 and ladder.optimizer == optimizer


def coordinate_checks(ladder: LadderReport) -> list[str]:
    """Sentences on the coordinate checks, of the first steps and of the ends of the runs.

    Empty for a refused ladder, whose reason is the failed check.
    """
    if ladder.verdict == "refused":
        return []
    checks = {"Coordinate check": ladder.coordinates, "Late coordinate check": ladder.late}
    colours = {"pass": "green", "fail": "red", "unresolved": "yellow", "skipped": "yellow"}
    return [
        f"{name}: [{colours[check.verdict]}]{check.verdict}[/], {escape(check.reason)}."
        for name, check in checks.items()
        if check
    ]


def show_judgement(found: Judgement, console: Console) -> None:
    """Print the judgement of a sweep that was run elsewhere."""
    console.print()
    console.print(result_sentence(found, found.target_width), soft_wrap=True)
    console.print(f"[{COLOURS[found.verdict]}]{found.verdict}[/]: {found.reason}\n", soft_wrap=True)
    verdicts = _table("at width", "verdict", "reason")
    for level in found.levels:
        verdicts.add_row(str(level.width), level.verdict, level.reason)
    hyperparameters = [_hyperparameters(found), ""] if found.hyperparameters else []
    console.print(*hyperparameters, _levels(found), "", verdicts, "", sep="\n")
    if drift := found.drift:
        console.print(drifts(drift), soft_wrap=True)
    for copy in found.copying:
        measured = found.measured_regret if copy.width == found.levels[-1].width else None
        between = (
            "" if measured is None else f"; measured, between the points run: {measured:.2f} %"
        )
        cost = f"{copy.regret:.2f} % of the loss ({copy.low:.2f} to {copy.high:.2f}{between})"
        smallest = found.levels[0].width
        console.print(
            f"Copying width {smallest}'s optimum to width {copy.width} would cost {cost}.",
            soft_wrap=True,
        )
    if fit := found.scaling_fit:
        console.print(evidence.scaling(fit, "width", len(found.levels)), soft_wrap=True)
    console.print(
        *(f"[dim]Note: {escape(note)}.[/]" for note in found.notes), sep="\n", soft_wrap=True
    )


def drifts(drift: Drift) -> str:
    """How far the optimal learning rate moves with width."""
    interval = f"{drift.low:+.2f} to {drift.high:+.2f}"
    per_doubling = f"{drift.octaves_per_doubling:+.2f} octave per doubling of the width"
    return f"The optimal learning rate drifts by {per_doubling} ({interval})."


def result_sentence(ladder: LadderReport | Judgement, target_width: int) -> str:
    """The result in one sentence, or that there is none yet."""
    if ladder.verdict == "unbracketed" and not ladder.hyperparameters:
        return f"No hyperparameters: {ladder.reason}."
    if not ladder.hyperparameters or ladder.verdict == "refused":
        return "No hyperparameters yet."
    lr = ladder.hyperparameters["lr"]
    interval = f" (90 % interval {_interval(lr)})" if _measured(lr) else ""
    values = [f"lr [bold]{lr.value:.3g}[/]{interval}"]
    values += [
        f"{_words(name)} {each.value:.3g}"
        for name, each in ladder.hyperparameters.items()
        if name != "lr"
    ]
    verb = "Train" if ladder.verdict == "resolved" else "Not settled; the best guess is to train"
    return f"{verb} width [bold]{target_width}[/] with {', '.join(values)}."


def method_text(method: Method) -> str:
    """The rules by which runs were chosen and evaluated."""
    if not method.options:
        return f"Method: schedule {method.schedule}, estimator {method.estimator}."
    options = ", ".join(
        f"{_words(name)} {value.replace('_', ' ')}" for name, value in method.options.items()
    )
    published = "exactly as published" if method.published else "differs from the published rule"
    schedule = f"schedule {method.schedule} ({published})"
    return f"Method: {schedule}; estimator {method.estimator}; {options}."


def at_the_target(found: Validation) -> str:
    """The outcome of the runs at the target width."""
    runs = f"{found.trials} runs at width {found.width}"
    interval, regrets = found.interval, found.regret_interval
    if found.optimum is None or interval is None or found.regret is None or regrets is None:
        return f"Validation: {runs}, {found.diverged} of which diverged, show no optimum of lr."
    cost = f"{found.regret:.2g} % of the loss ({regrets.low:.2g} to {regrets.high:.2g})"
    optimum = f"the optimum there, {found.optimum:.3g} ({_range(interval)})"
    stated = "contains"
    if not found.held:
        stated = "[yellow]just misses[/]"
    if found.contradicted:
        stated = "[yellow]contradicts[/]"
    return f"Validation: in {runs}, lr {found.lr:.3g} costs {cost} compared with {optimum}; the stated interval {stated} it."


def scaling_rules(pairing: Pairing) -> str:
    """The scaling rules of the ladder, with remarks."""
    named = [f"weight decay {pairing.weight_decay_rule}"]
    if pairing.update_scale:
        named = [f"update scale {pairing.update_scale}", f"lr {pairing.muon_lr_rule}", *named]
    named += [
        "hidden eps / m" if pairing.eps_rule == "inverse" else "eps constant",
        f"attention {pairing.attention_scale or 'as the model has it'}",
        f"head {pairing.head_form or 'unscaled'}",
    ]
    forced = ", forced" if pairing.forced else ""
    mark = "[green]sound[/]" if pairing.sound else f"[yellow]unsound{forced}[/]"
    title = f"Rules of {pairing.parametrisation}: {', '.join(named)} ({mark})."
    return "\n".join([title, *(f"- {remark}" for remark in pairing.remarks)])


def bill(cost: Cost) -> str:
    """The cost of tuning, compared with the final run and with a sweep at the target."""
    total = cost.final_run_flops / cost.share  # includes what reused trials once cost
    trials = (
        f"{cost.reused} of {cost.trials} trials reused" if cost.reused else f"{cost.trials} trials"
    )
    spent = f"{_amount(cost.tokens).rstrip()} tokens, {_amount(cost.flops)}FLOP"
    tuning = f"{trials}, {spent}, {cost.seconds:.0f} s of training"
    counted = ", including the earlier cost of reused trials" if cost.reused else ""
    final_run = f"the final run ({_amount(cost.final_run_flops)}FLOP)"
    share = f"{final_run} is {cost.share:.0%} of the total {_amount(total)}FLOP{counted}"
    saving = checked = ""
    if 0 < cost.saving < 1:
        factor = f"{1 / (1 - cost.saving):.1f} times as much"
        saving = f"; a sweep of the full grid at the target would have cost {factor}"
    if cost.validation:
        at_target = f"{cost.validation.trials} trials and {_amount(cost.validation.flops)}FLOP"
        checked = f" ({at_target} of it at the target)"
    return f"Bill: {tuning}{checked}; {share}{saving}.\n"


# Tables


def _hyperparameters(ladder: LadderReport | Judgement) -> Table:
    table = _table("hyperparameter", "value", "90 % interval", "half-width", "verdict")
    for name, each in ladder.hyperparameters.items():
        interval = half_width = ""
        if _measured(each):
            interval, half_width = _interval(each), f"±{each.half_width:.2f} octave"
        status = TRAINED.get(each.status, each.status)
        table.add_row(_words(name), f"{each.value:.3g}", interval, half_width, status)
    return table


def _measured(one: Hyperparameter) -> bool:
    """True if the hyperparameter has an interval."""
    return one.has_interval and one.status not in ("swept", "fixed")


def _groups(ladder: LadderReport, target_width: int) -> Table:
    columns = ("optimizer", "lr", "decay", "eps", "init std", "multiplier", "parameters", "layers")
    table = _table(f"at width {target_width}", *columns)
    for group in ladder.parameter_groups:
        table.add_row(
            str(group.role),
            OPTIMIZER_TITLES[group.optimizer],
            _three(group.scaled_lr),
            _three(group.weight_decay),
            _three(group.eps),
            _three(group.init_std),
            _three(group.multiplier),
            f"{group.parameters:,}",
            _layers(group.names),
        )
    return table


def _layers(names: Iterable[str]) -> str:
    """The distinct names of parameters within their blocks, such as query, key, value."""
    last_parts = (name.removesuffix(".weight").rpartition(".")[2] for name in names)
    return ", ".join(dict.fromkeys(last_parts))


def _three(value: float | None) -> str:
    """Three significant digits; empty for None."""
    return "" if value is None else f"{value:.3g}"


def _levels(ladder: LadderReport | Judgement) -> Table:
    others = [name for name in ladder.levels[0].window if name != "lr"]
    table = _table(
        "width",
        "trials",
        "lr tried",
        "optimum",
        "90 % interval",
        *[f"best {_words(name)}" for name in others],
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
            _range(level.window["lr"]),
            _three(level.optimum.get("lr")),
            _range(interval) if interval else "",
            *[_optimum(ladder, level, name) for name in others],
            "" if level.best_loss is None else f"{level.best_loss:.4f}",
            "" if level.seed_noise is None else f"{level.seed_noise:.2f} %",
            level.edge or "",
        )
    return table


def _optimum(ladder: LadderReport | Judgement, level: LevelReport, name: AxisName) -> str:
    """An axis's optimum at a level, with the range tried if that does not bracket the optimum."""
    value, fitted = _three(level.optimum.get(name)), ladder.hyperparameters.get(name)
    if fitted and fitted.status == "unbracketed":
        return f"{value} (tried {_range(level.window[name])})"
    return value


def _interval(one: Interval | Hyperparameter) -> str:
    return f"{one.low:.3g} to {one.high:.3g}"


def _range(one: Interval) -> str:
    return f"{one.low:.3g}–{one.high:.3g}"
