"""The values of the experiment, and where each comes from."""

from dataclasses import dataclass
from typing import Literal

ValueOrigin = Literal["paper", "public code", "ours"]


@dataclass(frozen=True)
class Assumption:
    """A value of the experiment, and whether arXiv 2504.16041 (the paper) or the paper's public
    code states this value."""

    name: str
    value: str
    origin: ValueOrigin


def public(value: object, public_value: object) -> ValueOrigin:
    """The origin of a value that the paper leaves open: the paper's public code if the code uses
    the same value, and otherwise this study."""
    return "public code" if value == public_value else "ours"
