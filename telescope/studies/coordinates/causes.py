"""The likely causes of a failed coordinate check: scaling rules that do not fit.

The coordinate check tests whether the effects of updates keep their size as width grows. A scaling
rule of the parametrisation states how a learning rate (lr) changes with width: as a power of m, the
width divided by the base width. The exponent of a rule is compared with the *needed* exponent,
which keeps the effect of updates constant in size. There are rules for three *roles* of parameters:
hidden matrices, the readout (the output head) and the embedding. The *multiplier* is a factor in
the forward pass, on the readout's input or on the embedding's output.

- Muon multiplies its updates by an update scale. Suppose that this scale grows with width relative
  to sqrt(fan_out / fan_in). Then the lr of hidden matrices must shrink by the same factor.
- The entries of AdamW's updates have the size lr, and their effects add up over fan_in. So lr must
  be ~ 1/m for hidden matrices, and lr x multiplier must be ~ 1/m for the readout. The embedding is
  read one row at a time, so its lr x multiplier must be constant.

Parts: `misfits`, the rules that do not fit · `exponents`, one `Exponent` per role.
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

TOLERANCE = 0.1  # a rule fits if its exponent differs from the needed one by at most this much


class LrRule(StrEnum):
    """A rule for scaling a learning rate (lr) with width."""

    EMBEDDING = "embedding"  # scales lr x multiplier of the embedding
    READOUT = "readout"  # scales lr x multiplier of the readout
    MUON = "muon"  # scales Muon's lr of hidden matrices
    ADAMW = "adamw"  # scales AdamW's lr of hidden matrices


@dataclass(frozen=True)
class Exponent:
    """The exponent of m in a scaling rule, and the exponent that is needed."""

    rule: LrRule
    has: float  # the exponent of m in the quantity that the rule scales
    needed: float  # the exponent that keeps the effect of updates constant
    update_scale: UpdateScale | None = None  # Muon's update scale; None for other rules


@lru_cache(maxsize=64)
def misfits(narrow: TrialSpec, wide: TrialSpec) -> tuple[Exponent, ...]:
    """The rules whose exponent differs from the needed exponent by more than TOLERANCE. `narrow`
    and `wide` are runs that differ in width."""
    return tuple(
        exponent
        for exponent in exponents(narrow, wide)
        if abs(exponent.has - exponent.needed) > TOLERANCE
    )


def exponents(narrow: TrialSpec, wide: TrialSpec) -> list[Exponent]:
    """The exponents for hidden matrices, readout and embedding, from two runs that differ in width.
    A role without parameters is left out, such as the readout if the embeddings are tied."""
    octaves = math.log2(wide.model.width / narrow.model.width)
    narrow_groups, wide_groups = groups_of(narrow), groups_of(wide)

    def growth(at_narrow: float, at_wide: float) -> float:
        return math.log2(at_wide / at_narrow) / octaves

    result = []
    for role in (Role.HIDDEN, Role.READOUT, Role.EMBEDDING):
        if role not in narrow_groups:
            continue
        group, wide_group = narrow_groups[role], wide_groups[role]
        lr = growth(group.scaled_lr, wide_group.scaled_lr)
        effect = lr + growth(group.multiplier, wide_group.multiplier)
        if role is Role.EMBEDDING:
            result.append(Exponent(LrRule.EMBEDDING, effect, 0.0))
        elif role is Role.READOUT:
            result.append(Exponent(LrRule.READOUT, effect, -1.0))
        elif group.uses_muon:
            scales = [
                mup.update_scale(spec.optimizer, spec.model.width, spec.model.width)
                for spec in (narrow, wide)
            ]
            scale = mup.chosen_update_scale(wide.optimizer)
            result.append(Exponent(LrRule.MUON, lr, -growth(*scales), scale))
        else:
            result.append(Exponent(LrRule.ADAMW, lr, -1.0))
    return result


def groups_of(spec: TrialSpec) -> dict[Role, ParameterGroup]:
    """A parameter group of each role in the model. One group per role is enough, since lr and
    multiplier scale with width in the same way in all groups of a role."""
    return {
        group.role: group
        for group in describe_groups(spec.model, spec.data.vocab_size, spec.optimizer)
    }
