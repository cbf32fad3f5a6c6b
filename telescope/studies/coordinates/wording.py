"""The words of a coordinate check: its reason, and the rules that do not fit. Nothing decides by them.

Parts: `words`, of a reason · `finding_words` · `layer_words`, a slope as a growth law · `cause_words`, of rules · `law_words`.
"""

from collections.abc import Sequence

from telescope.studies.coordinates.causes import Exponent, LrRule
from telescope.studies.coordinates.reasons import (
    AcrossGate,
    BeyondGate,
    CheckReason,
    DivergedAtWidths,
    Finding,
    NothingMoved,
    SkippedByJob,
    TooCostly,
    TooFewWidths,
    WithinGate,
)
from telescope.studies.coordinates.slopes import LayerSlope
from telescope.train.probes import LOGITS

LAWS = {0.0: "constant", -0.5: "~ m^-1/2", -1.0: "~ 1/m"}  # by their exponents
NEAR = 0.05  # of an exponent


def words(reason: CheckReason) -> str:
    """A reason as people read it."""
    said, reduced = finding_words(reason.finding), reason.reduced
    if reduced is None:
        return said
    return f"{said} (reduced to {reduced.seeds} seeds and {reduced.steps} steps, to stay within its share of the job)"


def finding_words(finding: Finding) -> str:
    """A finding as people read it."""
    match finding:
        case SkippedByJob():
            return "the job says coordinates: skip"
        case TooCostly():
            return "it would cost more than its share of the job"
        case TooFewWidths(widths=widths, needed=needed):
            few = f"only {len(widths)} widths up to the target ({', '.join(map(str, widths))}), and the check needs {needed}"
            return f"{few}; start from a narrower base_width, or a smaller head_dim, to have more"
        case DivergedAtWidths(widths=widths, steps=steps, lr=lr):
            return f"runs diverged within {steps} steps at width {', '.join(map(str, widths))}, lr {lr:.3g}; lower search.lr"
        case NothingMoved():
            return "no layer moved at all"
        case BeyondGate(worst=worst, failed=failed, gate=gate):
            more = f", and {failed - len(worst)} more" if failed > len(worst) else ""
            return f"with width, {'; '.join(map(layer_words, worst))}{more}; beyond ±{gate}"
        case WithinGate(narrowest=narrowest, widest=widest, steepest=steepest, layers=layers, gate=gate):
            return f"over widths {narrowest} to {widest}, {layer_words(steepest)}, the steepest of {layers}; the gate is ±{gate}"
        case AcrossGate(seeds=seeds, steepest=steepest, gate=gate):
            return f"with {seeds} seeds, {layer_words(steepest)}: its interval lies across the gate of ±{gate}"


def layer_words(layer: LayerSlope) -> str:
    """A slope as a growth law."""
    moved = "the logits" if layer.layer == LOGITS else f"the output of {layer.layer}"
    what = f"the own updates of {layer.layer} change" if layer.part == "own" else f"the change of {moved} goes"
    return f"{what} as width^{layer.slope:+.2f} ({layer.low:+.2f} to {layer.high:+.2f})"


def cause_words(causes: Sequence[Exponent]) -> str:
    """The likely cause of a check that fails: the rules that do not fit."""
    if not causes:
        return "its rules fit on paper: look for a wrong or missing multiplier in the model, or an lr at which the first steps are chaotic"
    return "; ".join(f"{rule_words(one)} needs to be {law_words(one.needed)}, but it is {law_words(one.has)}" for one in causes)


def rule_words(exponent: Exponent) -> str:
    """The quantity that a rule is about."""
    match exponent.rule:
        case LrRule.EMBEDDING:
            return "the embedding's lr x multiplier"
        case LrRule.READOUT:
            return "the readout's lr x multiplier"
        case LrRule.MUON:
            return f"with update scale {exponent.update_scale} Muon's lr"
        case LrRule.ADAMW:
            return "AdamW's lr of hidden matrices"


def law_words(exponent: float) -> str:
    """A power of m."""
    return next((said for power, said in LAWS.items() if abs(exponent - power) < NEAR), f"~ m^{exponent:+.2f}")
