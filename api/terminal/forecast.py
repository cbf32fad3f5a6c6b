"""The terminal output of the expected cost of a telescoping study.

A telescoping study has one or more ladders. A ladder consists of the runs of one optimizer at
increasing widths, which are called levels. The output consists of these parts, in this order:

- the least cost of each level
- the least, the expected and the largest cost of each part of the study
- time, disk space, and the cost of the final run at the target width
- for each ladder, other ways to choose the learning rate, with their cost
- advice, if there is any
"""

from typing import Any

from pydantic import TypeAdapter
from rich.console import Console
from rich.table import Table

from api.terminal.progress import duration
from api.terminal.words import amount, empty_table, field_words, ladder_name
from telescope.studies.forecast.span import Span
from telescope.studies.telescoping.forecast.preview import LadderPreview, Preview

SPAN = ("least", "expected", "most")


def show_forecast(document: dict[str, Any], console: Console) -> None:
    """Print the expected cost of a study. `document` is the JSON document of a `Preview`."""
    preview = TypeAdapter(Preview).validate_python(document)
    title = "The least cost of each width, and then the cost of each part of the job:"
    console.print(title, _level_table(preview), "", _cost_table(preview), "", sep="\n")
    console.print(_time_sentence(preview), soft_wrap=True)
    disk = preview.disk
    checkpoints = f"{amount(disk.checkpoint_bytes)}B of checkpoints while the job runs"
    curves = f"{amount(disk.curves_bytes)}B of curves, which are kept"
    console.print(f"Disk space: {curves}, and up to {checkpoints}.")
    final = amount(preview.final_run_flops)
    share = f"{preview.share:.0%} of its cost and the expected cost of tuning together"
    console.print(f"The final run at the target takes {final}FLOP, which is {share}.\n")
    for ladder in preview.ladders:
        title = f"Alternatives to the ladder ({ladder_name(ladder.optimizer, ladder.variant)}):"
        console.print(title, _alternatives_table(ladder), "", sep="\n")
    console.print(f"[dim]Expected costs and errors assume {preview.assumes}.[/]", soft_wrap=True)
    for advice in preview.advice:
        console.print(f"[yellow]Advice[/]: {advice}.", soft_wrap=True)


def _level_table(preview: Preview) -> Table:
    output = empty_table("", "width", "trials", "tokens", "FLOP")
    for ladder in preview.ladders:
        for level in ladder.levels:
            numbers = (
                str(level.width),
                str(level.trials),
                amount(level.tokens),
                amount(level.flops),
            )
            output.add_row(ladder_name(ladder.optimizer, ladder.variant), *numbers)
    return output


def _cost_table(preview: Preview) -> Table:
    titles = [f"{name} {unit}" for unit in ("trials", "FLOP") for name in SPAN]
    output = empty_table("", *titles)
    for ladder in preview.ladders:
        prefix = ""
        if len(preview.ladders) > 1:
            prefix = f"{ladder_name(ladder.optimizer, ladder.variant)}: "
        for line in ladder.lines:
            output.add_row(f"{prefix}{line.name}", *_counts(line.trials), *_amounts(line.flops))
    output.add_section()
    totals = (*_counts(preview.trials), *_amounts(preview.flops))
    output.add_row("[bold]all[/] (the cost cannot exceed the most)", *totals)
    return output


def _alternatives_table(ladder: LadderPreview) -> Table:
    output = empty_table("choice", "trials", "FLOP", "lr error", "regret", "what it means")
    for choice in ladder.choices:
        error = "" if choice.error is None else f"{choice.error:.2f} octave"
        regret = "" if choice.regret is None else f"{choice.regret:.2g} %"
        note = choice.note if choice.lr is None else f"lr {choice.lr:.3g}: {choice.note}"
        flops = amount(choice.flops)
        output.add_row(field_words(choice.name), str(choice.trials), flops, error, regret, note)
    return output


def _time_sentence(preview: Preview) -> str:
    low, middle, high = (duration(getattr(preview.seconds, name)) for name in SPAN)
    sources = "; ".join(dict.fromkeys(ladder.pace.source for ladder in preview.ladders))
    by = "[yellow]estimated[/]: " if preview.estimated else "by "
    trials = f"{preview.parallel} trials at once"
    return f"Time: {low} to {high}, expected {middle}, with {trials} ({by}{sources})."


def _counts(span: Span) -> tuple[str, ...]:
    return tuple(f"{getattr(span, name):.0f}" for name in SPAN)


def _amounts(span: Span) -> tuple[str, ...]:
    return tuple(amount(getattr(span, name)) for name in SPAN)
