"""The tables of a compute-time job by batch size, and sentences about these tables.

A compute-time job trains with Muon, with AdamW or with both at several batch sizes. The tables tell
the cost of reaching one target loss:

- `batch_table`: the tokens and steps that each optimizer needs (sentences: `batch_words`)
- `ratio_table`: AdamW's tokens divided by Muon's tokens (sentences: `ratio_words`)

Below, "the loss" is this target loss. A *censored* run ended above the loss without diverging, so
its tokens are a lower bound. An *early* run was below the loss at its first measurement, so its
tokens are an upper bound. If some runs of a row of `batch_table` are censored, the tokens and steps
of this row are lower bounds; if some runs are early, they are upper bounds. If the row has runs of
both kinds, its tokens and steps are not even bounds.
"""

from rich.table import Table

from api.terminal.words import (
    empty_table,
    interval_cell,
    short_amount,
    short_number,
    signed_amount,
)
from telescope.statistics.token_ratio import Direction, Standing
from telescope.studies.compute_time.rows import (
    BatchAnswer,
    BatchRow,
    BatchSummary,
    CriticalBatch,
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


def batch_table(answer: BatchAnswer) -> Table:
    """Return the table of tokens and steps to the loss, with one row per optimizer and batch."""
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
        "source of lr",
    )
    for row in answer.rows:
        output.add_row(
            OPTIMIZER_TITLES[row.optimizer],
            str(row.batch_tokens),
            bound_prefix(row) + short_amount(row.tokens),
            interval_cell(row.tokens_low, row.tokens_high),
            bound_prefix(row) + short_amount(row.steps),
            interval_cell(row.steps_low, row.steps_high),
            _outcomes(row),
            short_number(row.lr),
            short_number(row.weight_decay),
            row.source,
        )
    return output


def bound_prefix(row: BatchRow) -> str:
    """Return the prefix of a number: `over` or `under` if the number is a bound, otherwise empty.

    The prefix is also empty if there is no number, or if some runs are censored and others early.
    """
    if row.tokens is None or bool(row.censored) == bool(row.early):
        return ""
    return "over " if row.censored else "under "


def _outcomes(row: BatchRow) -> str:
    """Return the number of runs that reached the loss, then the number with each other outcome."""
    counts = {"censored": row.censored, "early": row.early, "diverged": row.diverged}
    others = [f"{count} {outcome}" for outcome, count in counts.items() if count]
    return ", ".join([str(row.reached), *others])


def batch_words(answer: BatchAnswer) -> list[str]:
    """Return sentences on the token-optimal batch and the critical batches of each optimizer.

    The token-optimal batch is the largest batch at which the tokens to the loss are at most 2 %
    above their minimum. Beyond the critical batch, the tokens to the loss rise. Two forms of curve
    are fitted to the tokens, and each form gives a critical batch.
    """
    return [sentence for summary in answer.optimizers for sentence in _summary(summary)]


def _summary(summary: BatchSummary) -> list[str]:
    name = OPTIMIZER_TITLES[summary.optimizer]
    if not summary.critical:
        settled = "at which a run crosses the loss, and every other run crosses it or diverges"
        needed = f"a fit needs at least three batches {settled}"
        return [f"{name}: no critical batch; {needed}."]
    batch = _batch(summary.token_optimal_batch)
    ends = interval_cell(summary.token_optimal_low, summary.token_optimal_high)
    interval = f" ({ends})" if ends else ""
    sentence = f"{name}: token-optimal batch {batch}{interval}."
    return [sentence, *map(_critical, summary.critical)]


def _batch(tokens: float | None) -> str:
    if tokens is None:
        return "beyond the batches of the fit"
    return f"{short_amount(tokens)} tokens"


def _critical(critical: CriticalBatch) -> str:
    ends = interval_cell(critical.low, critical.high)
    interval = f" ({ends})" if ends else ""
    form = FORMS[critical.form]
    parts = [f"  Critical batch by the {form}: {_batch(critical.batch_tokens)}{interval}"]
    parts.append(f"the fewest tokens are {short_amount(critical.fewest_tokens)}")
    parts.append(f"the residuals of the fit are {critical.residual_percent:.2g} %")
    if critical.p_of_misfit is not None:
        parts.append(f"the p-value of the fit is {critical.p_of_misfit:.2g}")
    if left_out := interval_cell(critical.left_out_low, critical.left_out_high):
        parts.append(f"if one batch is left out of the fit, the critical batch is {left_out}")
    return "; ".join(parts) + "."


def ratio_table(answer: RatioAnswer) -> Table:
    """Return the table of the ratio of AdamW's tokens to Muon's, with one row per batch.

    The column `in tokens` is this ratio. The columns `in FLOP` and `in hours` are the
    corresponding ratios of FLOPs and of hours. The column `tokens saved` is AdamW's tokens minus
    Muon's.
    """
    output = empty_table(
        "batch",
        "in tokens",
        "90 % interval",
        "in FLOP",
        "in hours",
        "tokens saved",
        "90 % interval",
        "pairs",
        "verdict",
    )
    for row in answer.rows:
        output.add_row(
            str(row.batch_tokens),
            short_number(row.ratio),
            interval_cell(row.ratio_low, row.ratio_high),
            short_number(row.flops_ratio),
            short_number(row.hours_ratio),
            signed_amount(row.gap_tokens),
            _gap(row),
            str(row.pairs) if row.pairs else "bound",
            STANDINGS[row.muon],
        )
    return output


def _gap(row: RatioRow) -> str:
    low, high = row.gap_low, row.gap_high
    if low is None and high is None:
        return ""
    return f"{signed_amount(low) or '-∞'} to {signed_amount(high) or '+∞'}"


def ratio_words(answer: RatioAnswer) -> list[str]:
    """Return sentences on how the ratio changes with the batch, or on why this is not known."""
    if answer.note:
        return [f"{answer.note[:1].upper()}{answer.note[1:]}."]
    if answer.trend is None or answer.trend_from_batch_tokens is None:
        return [
            "No trend is known. A trend needs pairs of runs at two or more batches that are at or "
            "above the larger critical batch (if none is known: at or above the median batch)."
        ]
    start = short_amount(answer.trend_from_batch_tokens)
    since = f"From a batch of {start} tokens on, the ratio {TRENDS[answer.trend]}"
    exponent, ends, p = "the exponent is unknown", "", ""
    if answer.exponent is not None:
        exponent = f"it changes as batch^{answer.exponent:+.2f}"
    if None not in (answer.exponent_low, answer.exponent_high):
        ends = f" ({answer.exponent_low:+.2f} to {answer.exponent_high:+.2f})"
    if answer.p_falling is not None:
        chance = f"with probability {answer.p_falling:.2g}"
        p = f"; if the true exponent were 0, an exponent this low would occur {chance}"
    return [f"{since}: {exponent}{ends}{p}."]
