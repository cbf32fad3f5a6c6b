"""A forecast quantity: at least, probably, at most."""

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """A forecast: at least, probably, and at most."""

    least: float
    expected: float
    most: float

    def times(self, factor: float) -> "Span":
        """The forecast multiplied by a factor."""
        return Span(self.least * factor, self.expected * factor, self.most * factor)

    def within(self, limit: float) -> "Span":
        """The forecast clipped to a limit."""
        return Span(min(self.least, limit), min(self.expected, limit), min(self.most, limit))


def total(spans: Iterable[Span]) -> Span:
    """Sum of forecasts."""
    parts = list(spans)
    return Span(
        *(
            math.fsum(getattr(span, name) for span in parts)
            for name in ("least", "expected", "most")
        )
    )
