"""The terminal output of a telescoping report.

A report has a ladder for each optimizer, or for each optimizer and variant if the job compares
variants (architectures or texts). A ladder consists of runs at increasing widths. For each ladder,
`show` prints the result in a sentence, the verdict with its reason, the values to set per parameter
group, the evidence at each width, and the cost.

`show_judgement` prints the verdict of `telescope judge` on a sweep that was run elsewhere. Most
other functions return a sentence or a paragraph. The tables are in `api.terminal.ladder_tables`.
"""

from collections.abc import Iterator
from typing import Any

from pydantic import TypeAdapter
from rich.console import Console
from rich.markup import escape

from api.terminal import evidence, variants
from api.terminal.ladder_tables import (
    hyperparameter_table,
    interval_text,
    is_measured,
    level_table,
    parameter_group_table,
    range_text,
)
from api.terminal.words import COLOURS, amount, empty_table, field_words, ladder_name
from telescope.studies.telescoping.evidence import (
    Cost,
    Drift,
    Method,
    Pairing,
    Validation,
)
from telescope.studies.telescoping.judge.judge import Judgement
from telescope.studies.telescoping.report import LadderReport, Report


def parse_report(document: dict[str, Any]) -> Report:
    """Parse the JSON document of a report."""
    return TypeAdapter(Report).validate_python(document)


def target_width(study: dict[str, Any] | None) -> int:
    """Return the target width that the JSON document of a study contains."""
    return int((study or {})["model"]["target_width"])


def show(report: Report, target_width: int, console: Console) -> None:
    """Print a report: the comparison of variants if the job compares variants, then each ladder."""
    console.print()
    if report.comparison:
        variants.show_comparison(report, console)
    state = "" if report.final else " so far"
    for ladder, is_best in ranked(report):
        name = ladder_name(ladder.optimizer, ladder.variant)
        title = f"{name} (the better optimizer)" if is_best else name
        console.rule(f"[bold]{title}", align="left", style="dim")
        show_result(ladder, target_width, state, console)
        show_evidence(ladder, console)


def show_result(ladder: LadderReport, target_width: int, state: str, console: Console) -> None:
    """Print the result of a ladder, the verdict, and the values to set.

    If the ladder belongs to a variant that differs from the job, the differing fields are printed
    first. `state` is text that follows the verdict.
    """
    if ladder.differs:
        fields = escape(variants.differing_values(ladder))
        console.print(f"[dim]{ladder.variant}: {fields}.[/]", soft_wrap=True)
    console.print(result_sentence(ladder, target_width), soft_wrap=True)
    verdict = f"[{COLOURS[ladder.verdict]}]{ladder.verdict}[/]{state}"
    console.print(f"{verdict}: {escape(ladder.reason)}\n", soft_wrap=True)
    if ladder.hyperparameters:
        groups = parameter_group_table(ladder, target_width)
        console.print(hyperparameter_table(ladder), "", groups, "", sep="\n")


def show_evidence(ladder: LadderReport, console: Console) -> None:
    """Print the evidence for the result of a ladder: runs, checks, uncertainty, rules, and cost."""
    if ladder.levels:
        console.print(level_table(ladder), "", sep="\n")
    if drift := ladder.drift:
        console.print(drift_sentence(drift), soft_wrap=True)
    sentences = (*evidence.sentences(ladder), *coordinate_checks(ladder))
    console.print(*sentences, sep="\n", soft_wrap=True)
    if ladder.error_budget:
        console.print("", evidence.error_budget_table(ladder), "", sep="\n")
    if ladder.validation:
        console.print(validation_sentence(ladder.validation), soft_wrap=True)
    if ladder.method:
        console.print(method_sentence(ladder.method), soft_wrap=True)
    if importance := evidence.importance(ladder):
        console.print(importance, soft_wrap=True)
    console.print(scaling_rules(ladder.pairing), soft_wrap=True)
    if ladder.hyperparameters:
        assumptions = [f"[dim]- {assumption}[/]" for assumption in ladder.assumptions]
        console.print("Assumptions:", *assumptions, sep="\n", soft_wrap=True)
    console.print(cost_paragraph(ladder.cost), soft_wrap=True)


def ranked(report: Report) -> Iterator[tuple[LadderReport, bool]]:
    """Yield each ladder, and whether it is the best of several ladders of its variant.

    The second value is False for the only ladder of a variant. Of the ladders of a variant, the
    best comes first.
    """
    best = {variant.name: variant.best for variant in report.variants} or {"": report.best}
    for variant, optimizer in best.items():
        ladders = [ladder for ladder in report.ladders if ladder.variant == variant]
        for ladder in sorted(ladders, key=lambda ladder: ladder.optimizer != optimizer):
            yield ladder, len(ladders) > 1 and ladder.optimizer == optimizer


def coordinate_checks(ladder: LadderReport) -> list[str]:
    """Return sentences on the two coordinate checks of a ladder.

    The first check tests, by short runs, whether training changes the output of each layer by the
    same amount at every width. The late check measures the sizes of the hidden matrices and of the
    effects of their last updates, at the end of the ladder's runs. It compares these sizes between
    widths. The list is empty for a refused ladder, because the reason for its verdict already
    describes the failed check.
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


def show_judgement(judgement: Judgement, console: Console) -> None:
    """Print the judgement of `telescope judge` on a sweep that was run elsewhere."""
    console.print()
    console.print(result_sentence(judgement, judgement.target_width), soft_wrap=True)
    verdict = f"[{COLOURS[judgement.verdict]}]{judgement.verdict}[/]"
    console.print(f"{verdict}: {escape(judgement.reason)}\n", soft_wrap=True)
    verdicts = empty_table("at width", "verdict", "reason")
    for level in judgement.levels:
        verdicts.add_row(str(level.width), level.verdict, level.reason)
    hyperparameters = [hyperparameter_table(judgement), ""] if judgement.hyperparameters else []
    console.print(*hyperparameters, level_table(judgement), "", verdicts, "", sep="\n")
    if drift := judgement.drift:
        console.print(drift_sentence(drift), soft_wrap=True)
    for copy in judgement.copying:
        is_widest = copy.width == judgement.levels[-1].width
        measured = ""
        if is_widest and judgement.measured_regret is not None:
            measured = f"; measured between runs: {judgement.measured_regret:.2f} %"
        cost = f"{copy.regret:.2f} % of the loss ({copy.low:.2f} to {copy.high:.2f}{measured})"
        smallest = judgement.levels[0].width
        console.print(
            f"Copying width {smallest}'s optimum to width {copy.width} would cost {cost}.",
            soft_wrap=True,
        )
    if fit := judgement.scaling_fit:
        console.print(evidence.scaling(fit, "width", len(judgement.levels)), soft_wrap=True)
    notes = [f"[dim]Note: {escape(note)}.[/]" for note in judgement.notes]
    console.print(*notes, sep="\n", soft_wrap=True)


def drift_sentence(drift: Drift) -> str:
    """Return a sentence on how far the optimal learning rate moves with width."""
    interval = f"{drift.low:+.2f} to {drift.high:+.2f}"
    per_doubling = f"{drift.octaves_per_doubling:+.2f} octave per doubling of the width"
    return f"The optimal learning rate drifts by {per_doubling} ({interval})."


def result_sentence(ladder: LadderReport | Judgement, target_width: int) -> str:
    """Return a sentence that states the hyperparameters for the target width, if there are any."""
    if ladder.verdict == "unbracketed" and not ladder.hyperparameters:
        return f"No hyperparameters: {escape(ladder.reason)}."
    if not ladder.hyperparameters or ladder.verdict == "refused":
        return "No hyperparameters."
    lr = ladder.hyperparameters["lr"]
    interval = f" (90 % interval {interval_text(lr)})" if is_measured(lr) else ""
    values = [f"lr [bold]{lr.value:.3g}[/]{interval}"]
    values += [
        f"{field_words(name)} {estimate.value:.3g}"
        for name, estimate in ladder.hyperparameters.items()
        if name != "lr"
    ]
    verb = "Train" if ladder.verdict == "resolved" else "Not settled; the best guess is to train"
    return f"{verb} width [bold]{target_width}[/] with {', '.join(values)}."


def method_sentence(method: Method) -> str:
    """Return a sentence on the rules by which the runs were chosen and evaluated."""
    if not method.options:
        return f"Method: schedule {method.schedule}, estimator {method.estimator}."
    options = ", ".join(
        f"{field_words(name)} {value.replace('_', ' ')}" for name, value in method.options.items()
    )
    published = "exactly as published" if method.published else "differs from the published rule"
    schedule = f"schedule {method.schedule} ({published})"
    return f"Method: {schedule}; estimator {method.estimator}; {options}."


def validation_sentence(validation: Validation) -> str:
    """Return a sentence on the outcome of the validation runs, which train at the target width."""
    runs = f"{validation.trials} runs at width {validation.width}"
    optimum, interval = validation.optimum, validation.interval
    regret, regrets = validation.regret, validation.regret_interval
    if optimum is None or interval is None or regret is None or regrets is None:
        diverged = f"{validation.diverged} of which diverged"
        return f"Validation: {runs}, {diverged}, show no optimum of lr."
    cost = f"{regret:.2g} % of the loss ({regrets.low:.2g} to {regrets.high:.2g})"
    compared = f"compared with the optimum of these runs, {optimum:.3g} ({range_text(interval)})"
    relation = "contains"
    if not validation.held:
        relation = "[yellow]just misses[/]"
    if validation.contradicted:
        relation = "[yellow]contradicts[/]"
    held = f"the interval of lr that the ladder states {relation} this optimum"
    return f"Validation: in {runs}, lr {validation.lr:.3g} costs {cost} {compared}; {held}."


def scaling_rules(pairing: Pairing) -> str:
    """Return the scaling rules of a ladder in one line, and then a line for each remark.

    Scaling rules tell how settings change with width. The rules are sound if theory expects that,
    under these rules, the optimum stays the same as width grows.
    """
    rules = [f"weight decay {pairing.weight_decay_rule}"]
    if pairing.update_scale:
        rules = [f"update scale {pairing.update_scale}", f"lr {pairing.muon_lr_rule}", *rules]
    rules += [
        "hidden eps as 1/width" if pairing.eps_rule == "inverse" else "eps constant",
        f"attention {pairing.attention_scale or 'as the model has it'}",
        f"head {pairing.head_form or 'unscaled'}",
    ]
    forced = ", forced" if pairing.forced else ""
    soundness = "[green]sound[/]" if pairing.sound else f"[yellow]unsound{forced}[/]"
    title = f"Rules of {pairing.parametrisation}: {', '.join(rules)} ({soundness})."
    return "\n".join([title, *(f"- {remark}" for remark in pairing.remarks)])


def cost_paragraph(cost: Cost) -> str:
    """Return a paragraph on the cost of tuning and of the final run at the target width.

    The paragraph also compares the sum of both with the cost of a sweep of the full grid at the
    target width, unless such a sweep would cost less.
    """
    total = cost.final_run_flops / cost.share  # includes what reused trials cost earlier
    trials = (
        f"{cost.reused} of {cost.trials} trials reused" if cost.reused else f"{cost.trials} trials"
    )
    amounts = f"{amount(cost.tokens).rstrip()} tokens, {amount(cost.flops)}FLOP"
    tuning = f"{trials}, {amounts}, {cost.seconds:.0f} s of training"
    reuse_note = ", including the earlier cost of reused trials" if cost.reused else ""
    final_run = f"the final run ({amount(cost.final_run_flops)}FLOP)"
    share = f"{final_run} is {cost.share:.0%} of the total of {amount(total)}FLOP{reuse_note}"
    saving_note = validation_note = ""
    if 0 < cost.saving < 1:
        factor = f"{1 / (1 - cost.saving):.1f} times as much"
        saving_note = f"; a sweep of the full grid at the target would have cost {factor}"
    if cost.validation:
        at_target = f"{cost.validation.trials} trials and {amount(cost.validation.flops)}FLOP"
        validation_note = f" (of which {at_target} at the target)"
    return f"Bill: {tuning}{validation_note}; {share}{saving_note}.\n"
