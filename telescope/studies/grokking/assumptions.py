"""The values of the experiment, and where each comes from."""

from dataclasses import dataclass
from typing import Literal

ValueOrigin = Literal["paper", "public code", "ours"]


@dataclass(frozen=True)
class Assumption:
    """A value of the experiment, and whether arXiv 2504.16041 or its public code states it."""

    name: str
    value: str
    origin: ValueOrigin


def public(value: object, public_value: object) -> ValueOrigin:
    """The origin of a value that the paper leaves open: its public code if the value is the same
    there, and otherwise this study."""
    return "public code" if value == public_value else "ours"
