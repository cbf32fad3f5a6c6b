"""How does an answer read?

First the answer in a sentence, then why it may be believed, then what to set where, what was seen at each width, and the bill.
`show` prints a report, `picture` writes it as PNG. Both read the documents that services send and
`telescope.studies.registry` writes, as the types of `telescope.studies.telescoping.report`.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import TypeAdapter
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from api.terminal import evidence, variants
from api.terminal.words import COLOURS, OPTIMIZERS
from api.terminal.words import amount as _amount
from api.terminal.words import ladder as _name
from api.terminal.words import table as _table
from api.terminal.words import words as _words
from telescope.studies.telescoping.axes import AxisName
from telescope.studies.telescoping.evidence import Cost, Hyperparameter, Interval, LevelReport, Method, Pairing, Validation
from telescope.studies.telescoping.judge.judge import Judgement
from telescope.studies.telescoping.report import LadderReport, Report

TRAINED = {"swept": "compared, not fitted", "fixed": "as given", "flat": "flat: no value in the interval costs more than the noise"}


def typed(document: dict[str, Any]) -> Report:
    """The report that a document spells."""
    return TypeAdapter(Report).validate_python(document)


def target_width(study: dict[str, Any] | None) -> int:
    """The width that a study's document asks about."""
    return int((study or {})["model"]["target_width"])


def show(report: Report, target_width: int, console: Console) -> None:
    """Print a report: variants side by side first, where there are any, and of each the best ladder first."""
    console.print()
    if report.comparison:
        variants.show(report, console)
    for ladder, is_best in ranked(report):
        title = _name(ladder.optimizer, ladder.variant) + (" (the better one)" if is_best else "")
        console.rule(f"[bold]{title}", align="left", style="dim")
        if ladder.differs:
            console.print(f"[dim]{ladder.variant}: {escape(variants.otherwise(ladder))}.[/]", soft_wrap=True)
        console.print(sentence(ladder, target_width), soft_wrap=True)
        state = "" if report.final else " so far"
        console.print(f"[{COLOURS[ladder.verdict]}]{ladder.verdict}[/]{state}: {ladder.reason}\n", soft_wrap=True)
        if ladder.hyperparameters:
            console.print(_hyperparameters(ladder), "", _groups(ladder, target_width), "", sep="\n")
        if ladder.levels:
            console.print(_levels(ladder), "", sep="\n")
        if drift := ladder.drift:
            moved = f"{drift.octaves_per_doubling:+.2f} octave per doubling of the width ({drift.low:+.2f} to {drift.high:+.2f})"
            console.print(f"The optimal learning rate drifts by {moved}.")
        console.print(*evidence.sentences(ladder), *coordinate_checks(ladder), sep="\n", soft_wrap=True)
        if ladder.error_budget:
            console.print("", evidence.error_budget(ladder), "", sep="\n")
        if ladder.validation:
            console.print(at_the_target(ladder.validation), soft_wrap=True)
        if ladder.method:
            console.print(method(ladder.method), soft_wrap=True)
        if said := evidence.importance(ladder):
            console.print(said, soft_wrap=True)
        console.print(rules(ladder.pairing), soft_wrap=True)
        if ladder.hyperparameters:
            console.print("Taken for granted:", *(f"[dim]- {one}[/]" for one in ladder.assumptions), sep="\n", soft_wrap=True)
        console.print(bill(ladder.cost), soft_wrap=True)


def ranked(report: Report) -> Iterator[tuple[LadderReport, bool]]:
    """Ladders, those of one variant together and the best optimizer's first, and whether it is the better one of several."""
    best = {one.name: one.best for one in report.variants} or {"": report.best}
    for variant, optimizer in best.items():
        ours = [ladder for ladder in report.ladders if ladder.variant == variant]
        for ladder in sorted(ours, key=lambda ladder: ladder.optimizer != optimizer):
            yield ladder, len(ours) > 1 and ladder.optimizer == optimizer


def coordinate_checks(ladder: LadderReport) -> list[str]:
    """What the coordinate checks say, of the first steps and of the runs' ends; a refusal has given its reason already."""
    found = {"Coordinate check": ladder.coordinates, "Late coordinate check": ladder.late}
    colours = {"pass": "green", "fail": "red", "unresolved": "yellow", "skipped": "yellow"}
    shown = [(name, one) for name, one in found.items() if one and ladder.verdict != "refused"]
    return [f"{name}: [{colours[one.verdict]}]{one.verdict}[/], {escape(one.reason)}." for name, one in shown]


def show_judgement(found: Judgement, console: Console) -> None:
    """Print what a sweep of the user's own says."""
    console.print()
    console.print(sentence(found, found.target_width), soft_wrap=True)
    console.print(f"[{COLOURS[found.verdict]}]{found.verdict}[/]: {found.reason}\n", soft_wrap=True)
    verdicts = _table("at width", "verdict", "reason")
    for level in found.levels:
        verdicts.add_row(str(level.width), level.verdict, level.reason)
    console.print(*([_hyperparameters(found), ""] if found.hyperparameters else []), _levels(found), "", verdicts, "", sep="\n")
    if drift := found.drift:
        moved = f"{drift.octaves_per_doubling:+.2f} octave per doubling of the width ({drift.low:+.2f} to {drift.high:+.2f})"
        console.print(f"The optimal learning rate drifts by {moved}.", soft_wrap=True)
    for one in found.copying:
        measured = found.measured_regret if one.width == found.levels[-1].width else None
        seen = "" if measured is None else f"; measured, between the points run: {measured:.2f} %"
        cost = f"{one.regret:.2f} % of the loss ({one.low:.2f} to {one.high:.2f}{seen})"
        console.print(f"Width {one.width} trained at width {found.levels[0].width}'s optimum would lose {cost}.", soft_wrap=True)
    if fit := found.scaling_fit:
        console.print(evidence.scaling(fit, "width", len(found.levels)), soft_wrap=True)
    console.print(*(f"[dim]Note: {escape(note)}.[/]" for note in found.notes), sep="\n", soft_wrap=True)


def sentence(ladder: LadderReport | Judgement, target_width: int) -> str:
    """The answer, or that there is none yet."""
    if ladder.verdict == "unbracketed" and not ladder.hyperparameters:
        return f"No hyperparameters: {ladder.reason}."
    if not ladder.hyperparameters or ladder.verdict == "refused":
        return "No hyperparameters yet."
    lr = ladder.hyperparameters["lr"]
    found = [f"lr [bold]{lr.value:.3g}[/]" + (f" (90 % interval {_interval(lr)})" if _measured(lr) else "")]
    found += [f"{_words(name)} {one.value:.3g}" for name, one in ladder.hyperparameters.items() if name != "lr"]
    verb = "Train" if ladder.verdict == "resolved" else "Not settled; the best guess is to train"
    return f"{verb} width [bold]{target_width}[/] with {', '.join(found)}."


def method(found: Method) -> str:
    """By which rules the runs were chosen and read."""
    if not found.options:
        return f"Method: schedule {found.schedule}, estimator {found.estimator}."
    named = ", ".join(f"{_words(name)} {value.replace('_', ' ')}" for name, value in found.options.items())
    literal = "the published rule to the letter" if found.published else "not the published rule to the letter"
    return f"Method: schedule {found.schedule}, {literal}; estimator {found.estimator}; {named}."


def at_the_target(found: Validation) -> str:
    """What the runs at the target width say."""
    if found.optimum is None or found.interval is None or found.regret is None or found.regret_interval is None:
        return f"Validation: {found.trials} runs at width {found.width}, {found.diverged} of them diverged, show no optimum of lr."
    low, high = found.regret_interval.low, found.regret_interval.high
    regret = f"lr {found.lr:.3g} costs {found.regret:.2g} % of the loss ({low:.2g} to {high:.2g})"
    optimum = f"against the optimum there, {found.optimum:.3g} ({_range(found.interval)})"
    held = "[yellow]contradicts[/]" if found.contradicted else "holds" if found.held else "[yellow]just misses[/]"
    return f"Validation: in {found.trials} runs at width {found.width} {regret} {optimum}; the stated interval {held} it."


def rules(pairing: Pairing) -> str:
    """Which scaling rules the ladder went by, and what there is to say about them."""
    decay = f"weight decay {pairing.weight_decay_rule}"
    named = [f"update scale {pairing.update_scale}", f"lr {pairing.muon_lr_rule}", decay] if pairing.update_scale else [decay]
    named += [
        "hidden eps / m" if pairing.eps_rule == "inverse" else "eps constant",
        f"attention {pairing.attention_scale or 'as the model has it'}",
        f"head {pairing.head_form or 'unscaled'}",
    ]
    forced = ", forced" if pairing.forced else ""
    mark = "[green]sound[/]" if pairing.sound else f"[yellow]unsound{forced}[/]"
    return "\n".join([f"Rules of {pairing.parametrisation}: {', '.join(named)} ({mark}).", *(f"- {one}" for one in pairing.remarks)])


def bill(cost: Cost) -> str:
    """What finding out cost, and against what."""
    total = cost.final_run_flops / cost.share  # what reused trials once took is in it
    trials = f"{cost.reused} of {cost.trials} trials reused" if cost.reused else f"{cost.trials} trials"
    tuning = f"{trials}, {_amount(cost.tokens).rstrip()} tokens, {_amount(cost.flops)}FLOP, {cost.seconds:.0f} s of training"
    counted = ", the reused trials' own included" if cost.reused else ""
    against = f"the final run ({_amount(cost.final_run_flops)}FLOP) is {cost.share:.0%} of all {_amount(total)}FLOP{counted}"
    saving = (
        f"; sweeping the full grid at the target would have cost {1 / (1 - cost.saving):.1f} times as much" if 0 < cost.saving < 1 else ""
    )
    checked = f" ({cost.validation.trials} trials and {_amount(cost.validation.flops)}FLOP of it at the target)" if cost.validation else ""
    return f"Bill: {tuning}{checked}; {against}{saving}.\n"


# Tables


def _hyperparameters(ladder: LadderReport | Judgement) -> Table:
    table = _table("hyperparameter", "value", "90 % interval", "half-width", "verdict")
    for name, one in ladder.hyperparameters.items():
        interval, width = (_interval(one), f"±{one.half_width:.2f} octave") if _measured(one) else ("", "")
        table.add_row(_words(name), f"{one.value:.3g}", interval, width, TRAINED.get(one.status, one.status))
    return table


def _measured(one: Hyperparameter) -> bool:
    """Whether it has an interval."""
    return one.has_interval and one.status not in ("swept", "fixed")


def _groups(ladder: LadderReport, target_width: int) -> Table:
    table = _table(f"at width {target_width}", "optimizer", "lr", "decay", "eps", "init std", "multiplier", "parameters", "layers")
    for group in ladder.parameter_groups:
        effective = (group.scaled_lr, group.weight_decay, group.eps, group.init_std, group.multiplier)
        table.add_row(str(group.role), OPTIMIZERS[group.optimizer], *map(_three, effective), f"{group.parameters:,}", _layers(group.names))
    return table


def _layers(names: Iterable[str]) -> str:
    """What parameters are called within their blocks, each once: query, key, value."""
    return ", ".join(dict.fromkeys(name.removesuffix(".weight").rpartition(".")[2] for name in names))


def _three(value: float | None) -> str:
    """Three digits, or nothing."""
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
        trials = f"{level.trials} ({level.diverged} diverged)" if level.diverged else str(level.trials)
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
    """A further axis's optimum at a level, with what was tried where that does not bracket it."""
    value, answer = _three(level.optimum.get(name)), ladder.hyperparameters.get(name)
    return f"{value} (tried {_range(level.window[name])})" if answer and answer.status == "unbracketed" else value


def _interval(one: Interval | Hyperparameter) -> str:
    return f"{one.low:.3g} to {one.high:.3g}"


def _range(one: Interval) -> str:
    return f"{one.low:.3g}–{one.high:.3g}"
