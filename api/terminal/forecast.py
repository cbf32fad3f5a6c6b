"""How does the bill beforehand read?

What is certain, level by level; each line of the bill at least, probably and at most; time and disk; the cheaper choices beside the
ladder; and where one of them is the better idea.
"""

from typing import Any

from pydantic import TypeAdapter
from rich.console import Console
from rich.table import Table

from api.terminal.progress import duration
from api.terminal.words import amount, table, words
from api.terminal.words import ladder as name_of
from telescope.studies.forecast.span import Span
from telescope.studies.telescoping.forecast.preview import LadderPreview, Preview

SPAN = ("least", "expected", "most")


def show(document: dict[str, Any], console: Console) -> None:
    """Print what a study would cost, by the document of its preview."""
    preview = TypeAdapter(Preview).validate_python(document)
    console.print("Known beforehand, level by level; then what each part comes to:", _levels(preview), "", _lines(preview), "", sep="\n")
    console.print(_time(preview), soft_wrap=True)
    disk = preview.disk
    console.print(
        f"Disk: {amount(disk.curves_bytes)}B of curves stay; up to {amount(disk.checkpoint_bytes)}B of checkpoints while it runs."
    )
    final = amount(preview.final_run_flops)
    console.print(f"The final run at the target takes {final}FLOP, {preview.share:.0%} of it and the expected tuning together.\n")
    for ladder in preview.ladders:
        console.print(f"Beside the ladder ({name_of(ladder.optimizer, ladder.variant)}):", _choices(ladder), "", sep="\n")
    console.print(f"[dim]Expected costs and errors assume {preview.assumes}.[/]", soft_wrap=True)
    for said in preview.advice:
        console.print(f"[yellow]Advice[/]: {said}.", soft_wrap=True)


def _levels(preview: Preview) -> Table:
    shown = table("", "width", "trials", "tokens", "FLOP")
    for ladder in preview.ladders:
        for level in ladder.levels:
            numbers = (str(level.width), str(level.trials), amount(level.tokens), amount(level.flops))
            shown.add_row(name_of(ladder.optimizer, ladder.variant), *numbers)
    return shown


def _lines(preview: Preview) -> Table:
    shown = table("", *(f"{name} trials" for name in SPAN), *(f"{name} FLOP" for name in SPAN))
    for ladder in preview.ladders:
        several = f"{name_of(ladder.optimizer, ladder.variant)}: " if len(preview.ladders) > 1 else ""
        for line in ladder.lines:
            shown.add_row(f"{several}{line.name}", *_counts(line.trials), *_amounts(line.flops))
    shown.add_section()
    shown.add_row("[bold]all[/], the most enforced", *_counts(preview.trials), *_amounts(preview.flops))
    return shown


def _choices(ladder: LadderPreview) -> Table:
    shown = table("way", "trials", "FLOP", "lr error", "regret", "what it means")
    for one in ladder.choices:
        error = "" if one.error is None else f"{one.error:.2f} octave"
        regret = "" if one.regret is None else f"{one.regret:.2g} %"
        note = one.note if one.lr is None else f"lr {one.lr:.3g}: {one.note}"
        shown.add_row(words(one.name), str(one.trials), amount(one.flops), error, regret, note)
    return shown


def _time(preview: Preview) -> str:
    low, middle, high = (duration(getattr(preview.seconds, name)) for name in SPAN)
    sources = "; ".join(dict.fromkeys(ladder.pace.source for ladder in preview.ladders))
    by = "[yellow]estimated[/]: " if preview.estimated else "by "
    return f"Time: {low} to {high}, probably {middle}, {preview.parallel} at once ({by}{sources})."


def _counts(span: Span) -> tuple[str, ...]:
    return tuple(f"{getattr(span, name):.0f}" for name in SPAN)


def _amounts(span: Span) -> tuple[str, ...]:
    return tuple(amount(getattr(span, name)) for name in SPAN)
