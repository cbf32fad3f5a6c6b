"""The rules of a parametrisation that do not fit, where layers fail the coordinate check.

The exponents of two models of different width, group by group, are compared with those that keep
the size of an update's effect: Muon's lr must cancel the growth of its update scale beyond
sqrt(fan_out / fan_in); AdamW's entries are of size lr and add up over fan_in, so hidden matrices
need lr ~ 1/m, the readout lr x multiplier ~ 1/m, and the embedding, looked up one row at a time, a
constant.

Parts: `misfits`, the rules that do not fit · `exponents`, actual and needed.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from telescope.optim.groups import ParameterGroup, describe_groups
from telescope.parametrisation import mup
from telescope.parametrisation.roles import Role
from telescope.trials.spec import TrialSpec
from telescope.trials.types import UpdateScale

TOLERANCE = 0.1  # of an exponent


class LrRule(StrEnum):
    """A rule for scaling a learning rate with width, by the quantity that it scales."""

    EMBEDDING = "embedding"  # lr x multiplier
    READOUT = "readout"  # lr x multiplier
    MUON = "muon"  # lr of hidden matrices
    ADAMW = "adamw"  # lr of hidden matrices


@dataclass(frozen=True)
class Exponent:
    """The power of m by which a quantity scales, and the power that it needs."""

    rule: LrRule
    has: float
    needed: float
    update_scale: UpdateScale | None = None  # of Muon


@lru_cache(maxsize=64)
def misfits(narrow: TrialSpec, wide: TrialSpec) -> tuple[Exponent, ...]:
    """The rules that do not fit."""
    return tuple(one for one in exponents(narrow, wide) if abs(one.has - one.needed) > TOLERANCE)


def exponents(narrow: TrialSpec, wide: TrialSpec) -> list[Exponent]:
    """The exponent of each role that has a rule."""
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
            found.append(Exponent(LrRule.EMBEDDING, effect, 0.0))
        elif role is Role.READOUT:
            found.append(Exponent(LrRule.READOUT, effect, -1.0))
        elif here[role].uses_muon:
            scale = mup.chosen_update_scale(wide.optimizer)
            sizes = [
                mup.update_scale(spec.optimizer, spec.model.width, spec.model.width)
                for spec in (narrow, wide)
            ]
            found.append(Exponent(LrRule.MUON, lr, -growth((sizes[0], sizes[1])), scale))
        else:
            found.append(Exponent(LrRule.ADAMW, lr, -1.0))
    return found


def groups_of(spec: TrialSpec) -> dict[Role, ParameterGroup]:
    """A group of each role; groups of the same role do not differ in what matters here."""
    return {
        group.role: group
        for group in describe_groups(spec.model, spec.data.vocab_size, spec.optimizer)
    }
