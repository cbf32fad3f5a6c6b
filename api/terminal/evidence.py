"""Terminal output of the evidence behind a result.

The evidence of a ladder: the sources of uncertainty, the expected shift of the optimum up to the
target, the reason why the ladder stopped, the cost of copying the smallest width's optimum, the
importance of the hyperparameters, and the runs that would resolve an unresolved ladder.
"""

from collections.abc import Iterator

from rich.table import Table

from api.terminal.progress import duration
from api.terminal.words import amount, empty_table, field_words
from telescope.statistics.estimates import ScalingFit
from telescope.studies.telescoping.evidence import Remedy, Transfer
from telescope.studies.telescoping.report import LadderReport

PARTS = {
    "seed_noise": "seeds",
    "bowl_form": "curve shape",
    "finite_width": "drift",
    "law": "drift law",
    "mesh": "grid step",
}
LAW_TEXTS = {
    "a/n": "as 1/width",
    "a/sqrt(n)": "as 1/sqrt(width)",
    "constant per doubling": "by a constant per doubling",
}
LEAST_R_SQUARED = 0.9  # the smallest R^2 at which a scaling law is reported


def error_budget_table(ladder: LadderReport) -> Table:
    """The table of the sources of uncertainty, one row per fitted hyperparameter."""
    output = empty_table("uncertainty, octaves", *PARTS.values(), "all", "largest part")
    for name, budget in ladder.error_budget.items():
        parts = [f"{getattr(budget, part):.2f}" for part in PARTS]
        largest = f"{PARTS[budget.dominant]}: {budget.remedy}"
        output.add_row(field_words(name), *parts, f"{budget.total:.2f}", largest)
    return output


def sentences(ladder: LadderReport) -> Iterator[str]:
    """Yield the sentences that follow a ladder's tables."""
    if ladder.shifts:
        average, *laws = ladder.shifts
        by_law = ", ".join(
            f"{law.octaves:+.2f} if it moves {LAW_TEXTS.get(law.law, law.law)} "
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
        cost = f"{regret}, which takes {last.compute:.2g} % more compute to make up for"
        yield f"Copying width {smallest}'s optimum to width {last.width} would cost {cost}."
    at_ends = transfer.lr_interval_cost
    losses = f"{at_ends.low:.2g} % and {at_ends.high:.2g} % above the loss at the optimum"
    yield f"At the ends of lr's interval the loss is {losses}."
    if fit := ladder.scaling_fit:
        expected = ""
        if loss := transfer.loss_at_target:
            expected = f"; expected at the target: {loss.low:.4g} to {loss.high:.4g}"
        yield scaling(fit, "parameters", len(ladder.levels), expected)


def scaling(fit: ScalingFit, size: str, levels: int, expected: str = "") -> str:
    """A sentence on the power law by which the loss at the optimum falls with size, if any fits.

    `size` names the variable of the fit, `levels` is the number of its points.
    """
    if fit.r_squared < LEAST_R_SQUARED:
        best_fit = f"the best fit has R^2 {fit.r_squared:.2f}"
        variable = "the number of parameters" if size == "parameters" else size
        return f"The loss at the optimum follows no power law of {variable} ({best_fit})."
    test_note = "fitted exactly by three levels, so not tested"
    if levels > 3:
        test_note = f"R^2 {fit.r_squared:.3f}, residual {fit.residual:.2g} %"
    law = f"{fit.A:.3g} / {size}^{fit.exponent:.3g} + {fit.E:.3g}"
    return f"The loss at the optimum falls as {law} ({test_note}){expected}."


def importance(ladder: LadderReport) -> str:
    """A sentence on the importance of each hyperparameter; empty for a single hyperparameter.

    The shares come from the fitted model of the loss or, without a model, from the base grid.
    """
    shares = ladder.explained or ladder.importance
    if len(shares) < 2:
        return ""
    by = "as shares of the variance of the loss in the model"
    if not ladder.explained:
        by = "from the base grid (PED-ANOVA)"
    largest_first = sorted(shares.items(), key=lambda item: -item[1])
    listed = ", ".join(f"{field_words(name)} {share:.0%}" for name, share in largest_first)
    return f"Importance within the searched range, {by}: {listed}."


def remedy_cost(remedy: Remedy) -> str:
    """A sentence on the cost of the runs that would resolve the ladder."""
    widths = ", ".join(map(str, remedy.widths))
    time = f", {duration(remedy.seconds)} of training" if remedy.seconds else ""
    cost = f"{remedy.base_runs:.0f} base runs: {amount(remedy.flops)}FLOP{time}"
    return f"Resolving this ladder takes runs at width {widths} that cost as much as {cost}."
