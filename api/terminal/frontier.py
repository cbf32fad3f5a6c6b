"""How does an answer to a target loss read?

As three tables, each with the sentences that sum it up: hours against devices, tokens against batch size, AdamW's tokens over Muon's.
Measured and modelled step times are told apart by name. Of the first, which can have hundreds of rows, those on the frontier are shown.

Parts: `Answers`, all three · `typed`, from documents · `answers`, from runs · `show` · `picture`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from api.terminal.words import amount, table
from telescope.errors import InvalidInput
from telescope.statistics.frontier import Dominance
from telescope.statistics.token_ratio import Direction, Standing
from telescope.studies.compute_time.analysis import Analysis
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

OPTIMIZERS = {"muon": "Muon", "adamw": "AdamW"}
FORMS = {"piecewise": "piecewise law", "smooth": "smooth form"}
STANDINGS = {
    Standing.AHEAD: "[green]Muon ahead[/]",
    Standing.BEHIND: "[red]Muon behind[/]",
    Standing.UNRESOLVED: "[yellow]unresolved[/]",
}
TRENDS = {
    Direction.RISING: "[green]rises[/]",
    Direction.FALLING: "[red]falls[/]",
    Direction.UNRESOLVED: "neither rises nor falls beyond doubt",
}


@dataclass(frozen=True)
class Answers:
    """All that a job answers to a target loss."""

    frontier: FrontierAnswer
    batch_sizes: BatchAnswer
    token_ratio: RatioAnswer


def typed(documents: Mapping[str, Any]) -> Answers:
    """The answers that three documents spell."""
    return TypeAdapter(Answers).validate_python(documents)


def answers(analysis: Analysis, target_loss: float) -> Answers:
    """The answers of runs that are at hand."""
    return Answers(analysis.frontier(target_loss), analysis.batch_sizes(target_loss), analysis.token_ratio(target_loss))


def lowest(target_losses: Sequence[float]) -> float:
    """The loss that a study's picture is drawn at; InvalidInput where it names none."""
    if not target_losses:
        raise InvalidInput.of("--plot", "is drawn at a target loss, and the study names none; use: telescope frontier JOB --target-loss X")
    return min(target_losses)


def picture(found: Answers, path: Path, title: str) -> None:
    """Write the picture of three panels."""
    from telescope.studies.compute_time.plot import draw  # and with it matplotlib

    draw(found.frontier, found.batch_sizes, found.token_ratio, path, title)


def show(found: Answers, console: Console) -> None:
    """Print everything."""
    console.print(f"\nTo a loss of [bold]{found.frontier.target_loss:g}[/], read {escape(found.frontier.read)}.\n", soft_wrap=True)
    for title, shown, said in (
        ("Hours against devices", frontier_table(found.frontier), frontier_words(found.frontier)),
        ("Tokens against batch size", batch_table(found.batch_sizes), batch_words(found.batch_sizes)),
        ("AdamW's tokens over Muon's", ratio_table(found.token_ratio), ratio_words(found.token_ratio)),
    ):
        console.rule(f"[bold]{title}", align="left", style="dim")
        if shown.row_count:
            console.print(shown, "", sep="\n")
        console.print(*said, "", sep="\n", soft_wrap=True)


# Hours against devices


def frontier_table(found: FrontierAnswer) -> Table:
    """The rows on the frontier."""
    shown = table("optimizer", "devices", "batch", "hours", "90 % interval", "step", "share of peak", "step time")
    for row in found.rows:
        if row.on_frontier:
            shown.add_row(
                OPTIMIZERS[row.optimizer],
                str(row.devices),
                str(row.batch_tokens),
                _three(row.hours),
                _range(row.hours_low, row.hours_high),
                f"{row.step_seconds:.3g} s",
                "" if row.share_of_peak is None else f"{row.share_of_peak:.0%}",
                str(row.origin),
            )
    return shown


def frontier_words(found: FrontierAnswer) -> list[str]:
    """Who is ahead, what is not shown, and what step times assume."""
    said = [dominance_words(found.dominance)]
    if others := [row for row in found.rows if not row.on_frontier]:
        bounds = sum(row.bound for row in others)
        of_them = f"; {bounds} of them are bounds, since a run did not reach the loss, or was below it at its first point" if bounds else ""
        said.append(f"Not on the frontier: {_rows(others)}{of_them}. `--csv frontier` prints all.")
    if found.model:
        said.append(f"Step times: {escape(found.model)}.")
    return said


def dominance_words(found: Dominance | None) -> str:
    """How the two curves compare where both are known."""
    if found is None:
        return "No comparison: that takes a device count which the frontiers of both optimizers reach."
    first, last = (row.devices for row in (found.rows[0], found.rows[-1]))
    where = f"on {first:g} devices" if first == last else f"over {first:g} to {last:g} devices"
    ratio = f"AdamW needs {found.ratio:.3g} times Muon's hours {where}"
    if first == last:
        return f"{ratio}, the only count that both frontiers reach."
    if not (found.first_ahead and found.second_ahead):
        ahead = "neither" if not (found.first_ahead or found.second_ahead) else "Muon" if found.second_ahead else "AdamW"
        return f"{ratio}, in the geometric mean; {ahead} is ahead {'anywhere' if ahead == 'neither' else 'all the way'}."
    area = f"Muon by {found.second_ahead:.2g}, AdamW by {found.first_ahead:.2g} doublings of hours x doublings of devices"
    return f"{ratio}, in the geometric mean; the curves cross: {area}."


# Tokens against batch size


def batch_table(found: BatchAnswer) -> Table:
    """A row per optimizer and batch."""
    shown = table("optimizer", "batch", "tokens", "90 % interval", "steps", "90 % interval", "runs", "lr", "weight decay", "from")
    for row in found.rows:
        shown.add_row(
            OPTIMIZERS[row.optimizer],
            str(row.batch_tokens),
            _bound(row) + _amount(row.tokens),
            _range(row.tokens_low, row.tokens_high),
            _bound(row) + _amount(row.steps),
            _range(row.steps_low, row.steps_high),
            _fates(row),
            _three(row.lr),
            _three(row.weight_decay),
            row.source,
        )
    return shown


def _bound(row: BatchRow) -> str:
    """In front of a number that is no estimate."""
    return "" if row.tokens is None else "over " if row.censored and not row.early else "under " if row.early and not row.censored else ""


def _fates(row: BatchRow) -> str:
    """What became of the runs, those that reached the loss first."""
    others = {"censored": row.censored, "early": row.early, "diverged": row.diverged}
    return ", ".join([str(row.reached), *(f"{number} {fate}" for fate, number in others.items() if number)])


def batch_words(found: BatchAnswer) -> list[str]:
    """Up to which batch tokens stay the same, by optimizer."""
    return [sentence for one in found.optimizers for sentence in _summary(one)]


def _summary(one: BatchSummary) -> list[str]:
    name = OPTIMIZERS[one.optimizer]
    if not one.critical:
        return [f"{name}: no critical batch; that needs three batches at which every run reached the loss, or more."]
    found = "beyond all batches that were run" if one.token_optimal_batch is None else f"{_amount(one.token_optimal_batch)} tokens"
    ends = _range(one.token_optimal_low, one.token_optimal_high)
    return [f"{name}: token-optimal batch {found}{f' ({ends})' if ends else ''}.", *map(_critical, one.critical)]


def _critical(one: CriticalBatch) -> str:
    found = "beyond all batches that were run" if one.batch_tokens is None else f"{_amount(one.batch_tokens)} tokens"
    interval = _range(one.low, one.high)
    said = [f"  Critical batch by the {FORMS[one.form]}: {found}{f' ({interval})' if interval else ''}"]
    said.append(f"at least {_amount(one.fewest_tokens)} tokens; residuals {one.residual_percent:.2g} %")
    if one.p_of_misfit is not None:
        said.append(f"p of the misfit {one.p_of_misfit:.2g}")
    if left_out := _range(one.left_out_low, one.left_out_high):
        said.append(f"{left_out} with any one batch left out")
    return "; ".join(said) + "."


# One optimizer's tokens over the other's


def ratio_table(found: RatioAnswer) -> Table:
    """A row per batch."""
    shown = table("batch", "tokens", "90 % interval", "in FLOP", "in hours", "tokens saved", "90 % interval", "pairs", "verdict")
    for row in found.rows:
        shown.add_row(
            str(row.batch_tokens),
            _three(row.ratio),
            _range(row.ratio_low, row.ratio_high),
            _three(row.flops_ratio),
            _three(row.hours_ratio),
            _signed(row.gap_tokens),
            _gap(row),
            str(row.pairs) if row.pairs else "bound",
            STANDINGS[row.muon],
        )
    return shown


def _gap(row: RatioRow) -> str:
    low, high = row.gap_low, row.gap_high
    return "" if low is None and high is None else f"{_signed(low) or '-∞'} to {_signed(high) or '+∞'}"


def ratio_words(found: RatioAnswer) -> list[str]:
    """Whether the advantage lasts."""
    if found.note:
        return [f"{found.note[:1].upper()}{found.note[1:]}."]
    if found.trend is None or found.trend_from_batch_tokens is None:
        return ["No trend: it takes two batches beyond the critical batches of both, or more, at which every run of both reached the loss."]
    since = f"From a batch of {_amount(found.trend_from_batch_tokens)} tokens on the ratio {TRENDS[found.trend]}"
    exponent = f"it goes as batch^{found.exponent:+.2f}" if found.exponent is not None else "its exponent has no value"
    ends = f" ({found.exponent_low:+.2f} to {found.exponent_high:+.2f})" if None not in (found.exponent_low, found.exponent_high) else ""
    p = "" if found.p_falling is None else f"; if it did not fall, one as low as this would have p {found.p_falling:.2g}"
    return [f"{since}: {exponent}{ends}{p}."]


# Numbers


def _three(value: float | None) -> str:
    """Three digits, or nothing."""
    return "" if value is None else _amount(value) if value >= 1000 else f"{value:.3g}"


def _amount(value: float | None) -> str:
    """With an SI prefix, or nothing."""
    return "" if value is None else amount(value).replace(" ", "")


def _signed(value: float | None) -> str:
    return "" if value is None else f"{'-' if value < 0 else '+'}{_amount(abs(value))}"


def _range(low: float | None, high: float | None) -> str:
    """An interval of what is above 0; without either end, nothing."""
    return "" if not low and high is None else f"{_three(low) or '0'} to {_three(high) or '∞'}"


def _rows(rows: list[FrontierRow]) -> str:
    return "1 row" if len(rows) == 1 else f"{len(rows)} rows"
