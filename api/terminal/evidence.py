"""How does an answer's evidence read?

Where its uncertainty comes from, how far the optimum is expected to move yet, why the ladder stopped where it did, what copying the
smallest width's optimum would cost, which hyperparameters matter, and what would resolve what is not resolved.
"""

from collections.abc import Iterator

from rich.table import Table

from api.terminal.progress import duration
from api.terminal.words import amount, table, words
from telescope.statistics.estimates import ScalingFit
from telescope.studies.telescoping.evidence import Remedy, Transfer
from telescope.studies.telescoping.report import LadderReport

PARTS = {"seed_noise": "seeds", "bowl_form": "bowl's form", "finite_width": "drift", "law": "drift law", "mesh": "mesh"}
SEEN = 0.9  # R^2, below which no law is seen


def error_budget(ladder: LadderReport) -> Table:
    """The parts of every fitted hyperparameter's uncertainty."""
    shown = table("uncertainty, octaves", *PARTS.values(), "all", "largest part")
    for name, one in ladder.error_budget.items():
        parts = [f"{getattr(one, part):.2f}" for part in PARTS]
        shown.add_row(words(name), *parts, f"{one.total:.2f}", f"{PARTS[one.dominant]}: {one.remedy}")
    return shown


def sentences(ladder: LadderReport) -> Iterator[str]:
    """What there is to say beside the tables."""
    if ladder.shifts:
        average, *laws = ladder.shifts
        each = ", ".join(f"{law.octaves:+.2f} by {law.law} (probability {law.probability:.0%})" for law in laws)
        moved = f"{average.octaves:+.2f} octave ({average.low:+.2f} to {average.high:+.2f})"
        yield f"From the widest level to the target lr's optimum is expected to move {moved}: {each}."
    if ladder.climb:
        yield f"The ladder {ladder.climb.words}."
    if ladder.transfer:
        yield from _transfer(ladder, ladder.transfer)
    if ladder.remedy:
        yield remedy(ladder.remedy)


def _transfer(ladder: LadderReport, found: Transfer) -> Iterator[str]:
    if found.copying:
        last, smallest = found.copying[-1], ladder.levels[0].width
        regret = f"{last.regret:.2g} % of the loss ({last.low:.2g} to {last.high:.2g}), worth {last.compute:.2g} % of compute"
        yield f"Copying width {smallest}'s optimum to width {last.width} would cost {regret}."
    cost = found.lr_interval_cost
    yield f"At the ends of lr's interval the loss is {cost.low:.2g} % and {cost.high:.2g} % above its optimum."
    if fit := ladder.scaling_fit:
        expected = f"; at the target {found.loss_at_target.low:.4g} to {found.loss_at_target.high:.4g}" if found.loss_at_target else ""
        yield scaling(fit, "parameters", len(ladder.levels), expected)


def scaling(fit: ScalingFit, size: str, levels: int, expected: str = "") -> str:
    """How the loss at the optimum falls with size, or that it does not fall by a law."""
    if fit.r_squared < SEEN:
        return f"No law is seen in the loss at the optimum against {size} (the best fit has R^2 {fit.r_squared:.2f})."
    tested = f"R^2 {fit.r_squared:.3f}, residual {fit.residual:.2g} %" if levels > 3 else "which three levels fix, and do not test"
    return f"Loss at the optimum falls as {fit.A:.3g} / {size}^{fit.exponent:.3g} + {fit.E:.3g} ({tested}){expected}."


def importance(ladder: LadderReport) -> str:
    """Which of the fitted hyperparameters matter: by the model, or else by the base grid; nothing of a single one."""
    shares = ladder.explained or ladder.importance
    if len(shares) < 2:
        return ""
    by = "of the loss's variance by the model" if ladder.explained else "by the base grid (PED-ANOVA)"
    said = ", ".join(f"{words(name)} {share:.0%}" for name, share in sorted(shares.items(), key=lambda one: -one[1]))
    return f"Importance within the range searched: {said} {by}."


def remedy(found: Remedy) -> str:
    """What the blocks would cost that the reason asks for."""
    widths = ", ".join(map(str, found.widths))
    time = f", {duration(found.seconds)} of training" if found.seconds else ""
    return f"That would take runs at width {widths} worth {found.base_runs:.0f} base runs: {amount(found.flops)}FLOP{time}."
