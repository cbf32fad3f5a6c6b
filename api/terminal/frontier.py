"""Terminal output of a compute-time job's tables at a target loss.

There are three tables, each with sentences that summarise it: hours against devices, tokens against
batch size, and the ratio of AdamW's tokens to Muon's. A column tells measured from modelled step
times. The first table can have hundreds of rows; only those on the frontier are printed.

Parts: `Answers`, all three · `parse_tables`, from documents · `answers`, from runs · `show_tables`
· `plot_tables`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from api.terminal.words import amount, empty_table
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
from telescope.trials.types import OPTIMIZER_TITLES

FORMS = {"piecewise": "piecewise law", "smooth": "smooth form"}
STANDINGS = {
    Standing.AHEAD: "[green]Muon ahead[/]",
    Standing.BEHIND: "[red]Muon behind[/]",
    Standing.UNRESOLVED: "[yellow]unresolved[/]",
}
TRENDS = {
    Direction.RISING: "[green]rises[/]",
    Direction.FALLING: "[red]falls[/]",
    Direction.UNRESOLVED: "neither rises nor falls significantly",
}


@dataclass(frozen=True)
class Answers:
    """The three tables of a job at a target loss."""

    frontier: FrontierAnswer
    batch_sizes: BatchAnswer
    token_ratio: RatioAnswer


def parse_tables(documents: Mapping[str, Any]) -> Answers:
    """Parse the documents of the three tables."""
    return TypeAdapter(Answers).validate_python(documents)


def answers(analysis: Analysis, target_loss: float) -> Answers:
    """Compute the three tables from an analysis."""
    return Answers(
        analysis.frontier(target_loss),
        analysis.batch_sizes(target_loss),
        analysis.token_ratio(target_loss),
    )


def lowest_target_loss(target_losses: Sequence[float]) -> float:
    """The target loss of a study's plot, the lowest; InvalidInput if the study has none."""
    if not target_losses:
        message = "needs a target loss, but the study names none"
        remedy = "use: telescope frontier JOB --target-loss X --plot FILE"
        raise InvalidInput.of("--plot", f"{message}; {remedy}")
    return min(target_losses)


def plot_tables(found: Answers, path: Path, title: str) -> None:
    """Plot the three tables to a file."""
    from telescope.studies.compute_time.plot import draw  # late: imports matplotlib

    draw(found.frontier, found.batch_sizes, found.token_ratio, path, title)


def show_tables(found: Answers, console: Console) -> None:
    """Print the three tables."""
    loss, read = found.frontier.target_loss, escape(found.frontier.read)
    console.print(f"\nTarget loss [bold]{loss:g}[/], measured as {read}.\n", soft_wrap=True)
    for title, rows, sentences in (
        ("Hours against devices", frontier_table(found.frontier), frontier_words(found.frontier)),
        (
            "Tokens against batch size",
            batch_table(found.batch_sizes),
            batch_words(found.batch_sizes),
        ),
        (
            "AdamW's tokens over Muon's",
            ratio_table(found.token_ratio),
            ratio_words(found.token_ratio),
        ),
    ):
        console.rule(f"[bold]{title}", align="left", style="dim")
        if rows.row_count:
            console.print(rows, "", sep="\n")
        console.print(*sentences, "", sep="\n", soft_wrap=True)


# Hours against devices


def frontier_table(found: FrontierAnswer) -> Table:
    """The rows on the frontier."""
    output = empty_table(
        "optimizer",
        "devices",
        "batch",
        "hours",
        "90 % interval",
        "step",
        "share of peak",
        "step time",
    )
    for row in found.rows:
        if row.on_frontier:
            output.add_row(
                OPTIMIZER_TITLES[row.optimizer],
                str(row.devices),
                str(row.batch_tokens),
                _three(row.hours),
                _range(row.hours_low, row.hours_high),
                f"{row.step_seconds:.3g} s",
                "" if row.share_of_peak is None else f"{row.share_of_peak:.0%}",
                str(row.origin),
            )
    return output


def frontier_words(found: FrontierAnswer) -> list[str]:
    """Sentences on the leading optimizer, the omitted rows, and the assumptions of step times."""
    sentences = [dominance_words(found.dominance)]
    if others := [row for row in found.rows if not row.on_frontier]:
        count = sum(row.bound for row in others)
        bounds = ""
        if count:
            cause = "a run did not reach the loss, or was below it at its first point"
            bounds = f", {count} of which are bounds because {cause}"
        sentences.append(
            f"Not on the frontier: {_rows(others)}{bounds}. `--csv frontier` prints all."
        )
    if found.model:
        sentences.append(f"Step times: {escape(found.model)}.")
    return sentences


def dominance_words(found: Dominance | None) -> str:
    """Comparison of the two frontiers over their common device counts."""
    if found is None:
        return "No comparison: the frontiers of the two optimizers share no device count."
    first, last = (row.devices for row in (found.rows[0], found.rows[-1]))
    where = f"on {first:g} devices" if first == last else f"over {first:g} to {last:g} devices"
    ratio = f"AdamW needs {found.ratio:.3g} times Muon's hours {where}"
    if first == last:
        return f"{ratio}, the only device count that both frontiers share."
    if not (found.first_ahead or found.second_ahead):
        return f"{ratio}, in the geometric mean; neither is ahead anywhere."
    if not (found.first_ahead and found.second_ahead):
        leader = "Muon" if found.second_ahead else "AdamW"
        return f"{ratio}, in the geometric mean; {leader} is ahead everywhere."
    leads = f"Muon leads by {found.second_ahead:.2g}, AdamW by {found.first_ahead:.2g}"
    unit = "doublings of hours x doublings of devices"
    return f"{ratio}, in the geometric mean; the frontiers cross: {leads} {unit}."


# Tokens against batch size


def batch_table(found: BatchAnswer) -> Table:
    """One row per optimizer and batch."""
    output = empty_table(
        "optimizer",
        "batch",
        "tokens",
        "90 % interval",
        "steps",
        "90 % interval",
        "runs",
        "lr",
        "weight decay",
        "from",
    )
    for row in found.rows:
        output.add_row(
            OPTIMIZER_TITLES[row.optimizer],
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
    return output


def _bound(row: BatchRow) -> str:
    """The prefix of a number that is a bound rather than an estimate."""
    if row.tokens is None or bool(row.censored) == bool(row.early):
        return ""
    return "over " if row.censored else "under "


def _fates(row: BatchRow) -> str:
    """Outcomes of the runs, beginning with the number that reached the loss."""
    others = {"censored": row.censored, "early": row.early, "diverged": row.diverged}
    return ", ".join(
        [str(row.reached), *(f"{number} {fate}" for fate, number in others.items() if number)]
    )


def batch_words(found: BatchAnswer) -> list[str]:
    """Token-optimal and critical batches by optimizer."""
    return [sentence for summary in found.optimizers for sentence in _summary(summary)]


def _summary(summary: BatchSummary) -> list[str]:
    name = OPTIMIZER_TITLES[summary.optimizer]
    if not summary.critical:
        needed = "it needs at least three batches at which every run reached the loss"
        return [f"{name}: no critical batch; {needed}."]
    batch = _batch(summary.token_optimal_batch)
    ends = _range(summary.token_optimal_low, summary.token_optimal_high)
    interval = f" ({ends})" if ends else ""
    sentence = f"{name}: token-optimal batch {batch}{interval}."
    return [sentence, *map(_critical, summary.critical)]


def _batch(tokens: float | None) -> str:
    return "beyond all batches that were run" if tokens is None else f"{_amount(tokens)} tokens"


def _critical(critical: CriticalBatch) -> str:
    ends = _range(critical.low, critical.high)
    interval = f" ({ends})" if ends else ""
    form = FORMS[critical.form]
    parts = [f"  Critical batch by the {form}: {_batch(critical.batch_tokens)}{interval}"]
    parts.append(f"at least {_amount(critical.fewest_tokens)} tokens")
    parts.append(f"residuals {critical.residual_percent:.2g} %")
    if critical.p_of_misfit is not None:
        parts.append(f"p of the misfit {critical.p_of_misfit:.2g}")
    if left_out := _range(critical.left_out_low, critical.left_out_high):
        parts.append(f"{left_out} with any single batch left out")
    return "; ".join(parts) + "."


# One optimizer's tokens over the other's


def ratio_table(found: RatioAnswer) -> Table:
    """One row per batch."""
    output = empty_table(
        "batch",
        "tokens",
        "90 % interval",
        "in FLOP",
        "in hours",
        "tokens saved",
        "90 % interval",
        "pairs",
        "verdict",
    )
    for row in found.rows:
        output.add_row(
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
    return output


def _gap(row: RatioRow) -> str:
    low, high = row.gap_low, row.gap_high
    return (
        "" if low is None and high is None else f"{_signed(low) or '-∞'} to {_signed(high) or '+∞'}"
    )


def ratio_words(found: RatioAnswer) -> list[str]:
    """Sentences on the trend of the ratio."""
    if found.note:
        return [f"{found.note[:1].upper()}{found.note[1:]}."]
    if found.trend is None or found.trend_from_batch_tokens is None:
        return [
            "No trend: it needs at least two batches beyond the critical batches of both "
            "optimizers, at which every run of both reached the loss."
        ]
    start = _amount(found.trend_from_batch_tokens)
    since = f"From a batch of {start} tokens on, the ratio {TRENDS[found.trend]}"
    exponent, ends, p = "its exponent has no value", "", ""
    if found.exponent is not None:
        exponent = f"it grows as batch^{found.exponent:+.2f}"
    if None not in (found.exponent_low, found.exponent_high):
        ends = f" ({found.exponent_low:+.2f} to {found.exponent_high:+.2f})"
    if found.p_falling is not None:
        chance = f"with probability {found.p_falling:.2g}"
        p = f"; if the ratio did not fall, an exponent this low would occur {chance}"
    return [f"{since}: {exponent}{ends}{p}."]


# Numbers


def _three(value: float | None) -> str:
    """Three significant digits; empty for None."""
    return "" if value is None else _amount(value) if value >= 1000 else f"{value:.3g}"


def _amount(value: float | None) -> str:
    """A number with an SI prefix; empty for None."""
    return "" if value is None else amount(value).replace(" ", "")


def _signed(value: float | None) -> str:
    return "" if value is None else f"{'-' if value < 0 else '+'}{_amount(abs(value))}"


def _range(low: float | None, high: float | None) -> str:
    """An interval of a positive number; empty without either end."""
    return "" if not low and high is None else f"{_three(low) or '0'} to {_three(high) or '∞'}"


def _rows(rows: list[FrontierRow]) -> str:
    return "1 row" if len(rows) == 1 else f"{len(rows)} rows"
