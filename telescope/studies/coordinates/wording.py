"""Texts of a coordinate check. No decision depends on these texts.

Parts: `words`, the text of the reason for the verdict · `cause_words`, the text of the likely cause
of a failed check.
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

# names of powers of m, by exponent; m is the width divided by the base width
LAWS = {0.0: "constant", -0.5: "~ m^-1/2", -1.0: "~ 1/m"}
NEAR = 0.05  # a name is used for exponents that differ by less than this from the named exponent


def words(reason: CheckReason) -> str:
    """The text of a reason."""
    text, reduced = finding_words(reason.finding), reason.reduced
    if reduced is None:
        return text
    size = f"{reduced.seeds} seeds and {reduced.steps} steps"
    return f"{text} (the check was reduced to {size}, to stay within its budget)"


def finding_words(finding: Finding) -> str:
    """The text of a finding."""
    match finding:
        case SkippedByJob():
            return "the job sets `coordinates: skip`"
        case TooCostly():
            return "the check would cost more than its budget"
        case TooFewWidths(widths=widths, needed=needed):
            count = f"only {len(widths)} widths up to the target ({', '.join(map(str, widths))})"
            remedy = "for more, lower base_width, and lower head_dim if narrower models need it"
            return f"there are {count}, and the check needs {needed}; {remedy}"
        case DivergedAtWidths(widths=widths, steps=steps, lr=lr):
            widths_and_lr = f"at width {', '.join(map(str, widths))} with lr {lr:.3g}"
            return f"runs diverged within {steps} steps {widths_and_lr}; lower search.lr"
        case NothingMoved():
            return "there is no layer whose change was measured in every run"
        case BeyondGate(worst=worst, failed=failed, gate=gate):
            more = f"; in total, {failed} slopes fail" if failed > len(worst) else ""
            laws = "; ".join(map(layer_words, worst))
            return f"{laws}{more}; the gate is ±{gate}"
        case WithinGate(
            narrowest=narrowest, widest=widest, steepest=steepest, layers=layers, gate=gate
        ):
            law = f"{layer_words(steepest)}, the steepest of {layers} slopes"
            return f"over widths {narrowest} to {widest}, {law}; the gate is ±{gate}"
        case AcrossGate(seeds=seeds, steepest=steepest, gate=gate):
            law = layer_words(steepest)
            return f"with {seeds} seeds, {law}; this is beyond the gate of ±{gate}, but not clearly"


def layer_words(layer: LayerSlope) -> str:
    """The text of a layer's slope, as a power of width."""
    output = "the logits" if layer.layer == LOGITS else f"the output of {layer.layer}"
    quantity = (
        f"the effect of {layer.layer}'s own updates"
        if layer.part == "own"
        else f"the change of {output}"
    )
    interval = f"{layer.low:+.2f} to {layer.high:+.2f}"
    return f"{quantity} scales as width^{layer.slope:+.2f} ({interval})"


def cause_words(causes: Sequence[Exponent]) -> str:
    """The text of the likely cause of a failed check. `causes` are the scaling rules that do not
    fit. If it is empty, the text says where to look for the cause."""
    if not causes:
        return (
            "all scaling rules fit; look for "
            "a wrong or missing multiplier in the model, "
            "or an lr so high that the first steps are chaotic"
        )
    return "; ".join(
        f"{rule_words(cause)} must be {law_words(cause.needed)}, but is {law_words(cause.has)}"
        for cause in causes
    )


def rule_words(exponent: Exponent) -> str:
    """The name of the quantity that a rule scales."""
    match exponent.rule:
        case LrRule.EMBEDDING:
            return "the embedding's lr x multiplier"
        case LrRule.READOUT:
            return "the readout's lr x multiplier"
        case LrRule.MUON:
            return f"with update scale {exponent.update_scale}, Muon's lr"
        case LrRule.ADAMW:
            return "AdamW's lr for hidden matrices"


def law_words(exponent: float) -> str:
    """The text of a power of m, the width divided by the base width."""
    names = (law for power, law in LAWS.items() if abs(exponent - power) < NEAR)
    return next(names, f"~ m^{exponent:+.2f}")
