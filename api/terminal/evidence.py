"""The terminal output of the evidence behind a result.

A result comes from a ladder, which consists of the runs of one optimizer at increasing widths. The
functions here return a table or sentences about a ladder, on these subjects:

- the sources of the uncertainty of the result
- the expected shift of the optimal learning rate from the widest trained width to the target width
- the width that the ladder has reached and, if the ladder has stopped there, the reason
- the cost of using the optimum of the smallest width at larger widths
- the importance of each hyperparameter
- the further runs that would resolve an unresolved result, and their cost
"""

from collections.abc import Iterator

from rich.table import Table

from api.terminal.progress import duration
from api.terminal.words import amount, empty_table, field_words
from telescope.statistics.estimates import ScalingFit
from telescope.studies.telescoping.evidence import Remedy, Transfer
from telescope.studies.telescoping.report import LadderReport

PARTS = {  # sources of uncertainty, and the columns that show them
    "seed_noise": "seeds",
    "bowl_form": "curve shape",
    "finite_width": "drift",
    "law": "drift law",
    "mesh": "grid step",
}
LAW_TEXTS = {  # laws by which the optimum may move with width, and their descriptions
    "a/n": "as 1/width",
    "a/sqrt(n)": "as 1/sqrt(width)",
    "constant per doubling": "by a constant per doubling",
}
LEAST_R_SQUARED = 0.9  # a power law of the loss is reported only if its R^2 is at least this


def error_budget_table(ladder: LadderReport) -> Table:
    """Return the table of the sources of uncertainty, with one row per fitted hyperparameter.

    The columns from `seeds` to `all` are standard deviations in octaves (factors of 2).
    """
    output = empty_table("uncertainty, octaves", *PARTS.values(), "all", "largest part")
    for name, budget in ladder.error_budget.items():
        parts = [f"{getattr(budget, part):.2f}" for part in PARTS]
        largest = f"{PARTS[budget.dominant]}: {budget.remedy}"
        output.add_row(field_words(name), *parts, f"{budget.total:.2f}", largest)
    return output


def sentences(ladder: LadderReport) -> Iterator[str]:
    """Yield the sentences that are printed below the tables of a ladder."""
    if ladder.shifts:
        average, *laws = ladder.shifts
        by_law = ", ".join(
            f"{law.octaves:+.2f} if lr moves {LAW_TEXTS.get(law.law, law.law)} "
            f"(probability {law.probability:.0%})"
            for law in laws
        )
        shift = f"{average.octaves:+.2f} octave ({average.low:+.2f} to {average.high:+.2f})"
        expected = f"the optimum of lr is expected to shift by {shift}"
        yield f"From the widest level to the target, {expected}: {by_law}."
    if ladder.climb:
        yield f"The ladder {ladder.climb.words}."
    if ladder.transfer:
        yield from _transfer(ladder, ladder.transfer)
    if ladder.remedy:
        yield remedy_cost(ladder.remedy)


def _transfer(ladder: LadderReport, transfer: Transfer) -> Iterator[str]:
    if transfer.copying:
        last, smallest = transfer.copying[-1], ladder.levels[0].width
        regret = f"{last.regret:.2g} % of the loss ({last.low:.2g} to {last.high:.2g})"
        compute = f"Making up for this cost would take {last.compute:.2g} % more compute"
        copied = f"Copying width {smallest}'s optimum to width {last.width} would cost {regret}"
        yield f"{copied}. {compute}."
    at_ends = transfer.lr_interval_cost
    losses = f"{at_ends.low:.2g} % and {at_ends.high:.2g} % above the loss at the optimum"
    yield f"At the ends of the interval of lr, the loss is {losses}."
    if fit := ladder.scaling_fit:
        expected = ""
        if loss := transfer.loss_at_target:
            expected = f"; the loss expected at the target is {loss.low:.4g} to {loss.high:.4g}"
        yield scaling(fit, "parameters", len(ladder.levels), expected)


def scaling(fit: ScalingFit, size: str, levels: int, expected: str = "") -> str:
    """Return a sentence on the power law by which the loss at the optimum falls with model size.

    If the law does not fit, the sentence says so. `size` names the variable that measures the model
    size. `levels` is the number of widths that the law is fitted to. `expected` is text that is
    appended if the law fits.
    """
    if fit.r_squared < LEAST_R_SQUARED:
        best_fit = f"the best fit has R^2 {fit.r_squared:.2f}"
        variable = "the number of parameters" if size == "parameters" else size
        return f"The loss at the optimum follows no power law of {variable} ({best_fit})."
    test_note = "untested, because three numbers were fitted to three widths"
    if levels > 3:
        test_note = f"R^2 {fit.r_squared:.3f}, residual {fit.residual:.2g} %"
    law = f"{fit.A:.3g} / {size}^{fit.exponent:.3g} + {fit.E:.3g}"
    return f"The loss at the optimum falls as {law} ({test_note}){expected}."


def importance(ladder: LadderReport) -> str:
    """Return a sentence on the importance of each hyperparameter.

    The importance comes from the fitted model of the loss. If there is no model, it comes from the
    base grid, which holds the first runs, at the smallest width. The sentence is empty if the
    importance of only one hyperparameter, or of none, is known.
    """
    shares = ladder.explained or ladder.importance
    if len(shares) < 2:
        return ""
    by = "as shares of the variance of the loss in the fitted model"
    if not ladder.explained:
        by = "by PED-ANOVA on the base grid"
    largest_first = sorted(shares.items(), key=lambda item: -item[1])
    listed = ", ".join(f"{field_words(name)} {share:.0%}" for name, share in largest_first)
    return f"Importance of hyperparameters in the searched range, {by}: {listed}."


def remedy_cost(remedy: Remedy) -> str:
    """Return a sentence on the runs that would resolve an unresolved result, and on their cost."""
    widths = ", ".join(map(str, remedy.widths))
    time = f", {duration(remedy.seconds)} of training" if remedy.seconds else ""
    cost = f"{remedy.base_runs:.0f} runs at the base width: {amount(remedy.flops)}FLOP{time}"
    needed = f"Resolving this result takes further runs at width {widths}"
    return f"{needed}. They cost as much as {cost}."
