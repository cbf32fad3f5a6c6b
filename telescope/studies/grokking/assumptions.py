"""The settings of an experiment, with their origins."""

from dataclasses import dataclass
from typing import Literal

ValueOrigin = Literal["paper", "public code", "ours"]


@dataclass(frozen=True)
class Assumption:
    """A setting of the experiment. `origin` tells whether the value comes from arXiv 2504.16041
    (the paper), from the paper's public code, or from this study (ours)."""

    name: str
    value: str
    origin: ValueOrigin


def public(value: object, public_value: object) -> ValueOrigin:
    """The origin of a value that the paper leaves open: the paper's public code if this code uses
    the same value, and otherwise this study."""
    return "public code" if value == public_value else "ours"
