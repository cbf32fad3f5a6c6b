"""Which rule of a parametrisation does not fit, when layers fail the coordinate check?

Said from the exponents that two models of different width really have, group by group, beside those that keep the size of an update's
effect: Muon's lr must undo the growth of its update scale beyond sqrt(fan_out / fan_in); AdamW's entries are of size lr and add up over
fan_in, so hidden matrices need lr ~ 1/m, the readout lr x multiplier ~ 1/m, and the embedding, looked up one row at a time, a constant.

Parts: `likely_cause` · `exponents`, what is there against what is needed.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

from telescope.optim.groups import Group, describe
from telescope.parametrisation import mup
from telescope.parametrisation.roles import Role
from telescope.trials.spec import TrialSpec

TOLERANCE = 0.1  # of an exponent


@dataclass(frozen=True)
class Exponent:
    """The power of m that some quantity goes by, and the one that it should go by."""

    what: str
    has: float
    needed: float


@lru_cache(maxsize=64)
def likely_cause(narrow: TrialSpec, wide: TrialSpec) -> str:
    """The rules that do not fit, in words."""
    wrong = [one for one in exponents(narrow, wide) if abs(one.has - one.needed) > TOLERANCE]
    if not wrong:
        return "its rules fit on paper: look for a wrong or missing multiplier in the model, or an lr at which the first steps are chaotic"
    return "; ".join(f"{one.what} needs to be {law(one.needed)}, but it is {law(one.has)}" for one in wrong)


def exponents(narrow: TrialSpec, wide: TrialSpec) -> list[Exponent]:
    """One per role that has a rule."""
    octaves = math.log2(wide.model.width / narrow.model.width)
    here, there = (groups_of(spec) for spec in (narrow, wide))

    def growth(of: tuple[float, float]) -> float:
        return math.log2(of[1] / of[0]) / octaves

    found = []
    for role in (Role.HIDDEN, Role.READOUT, Role.EMBEDDING):
        if role not in here:
            continue
        lr = growth((here[role].scaled_lr, there[role].scaled_lr))
        effect = lr + growth((here[role].multiplier, there[role].multiplier))
        if role is Role.EMBEDDING:
            found.append(Exponent("the embedding's lr x multiplier", effect, 0.0))
        elif role is Role.READOUT:
            found.append(Exponent("the readout's lr x multiplier", effect, -1.0))
        elif here[role].uses_muon:
            scale = mup.chosen_update_scale(wide.optimizer)
            sizes = [mup.update_scale(spec.optimizer, spec.model.width, spec.model.width) for spec in (narrow, wide)]
            found.append(Exponent(f"with update scale {scale} Muon's lr", lr, -growth((sizes[0], sizes[1]))))
        else:
            found.append(Exponent("AdamW's lr of hidden matrices", lr, -1.0))
    return found


def groups_of(spec: TrialSpec) -> dict[Role, Group]:
    """One group of each role; those of one role differ in nothing that matters here."""
    return {group.role: group for group in describe(spec.model, spec.data.vocab_size, spec.optimizer)}


def law(exponent: float) -> str:
    """A power of m in words."""
    known = {0.0: "constant", -0.5: "~ m^-1/2", -1.0: "~ 1/m"}
    return next((words for power, words in known.items() if abs(exponent - power) < TOLERANCE / 2), f"~ m^{exponent:+.2f}")
