"""A forecast quantity with its bounds."""

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """The expected, the least and the largest value of a quantity, under the assumptions of a
    forecast."""

    least: float
    expected: float
    most: float

    def times(self, factor: float) -> "Span":
        return Span(self.least * factor, self.expected * factor, self.most * factor)

    def within(self, limit: float) -> "Span":
        """The forecast if the study ends at `limit`: larger values become `limit`."""
        return Span(min(self.least, limit), min(self.expected, limit), min(self.most, limit))


def total(spans: Iterable[Span]) -> Span:
    """The sum of several forecasts, field by field."""
    parts = list(spans)
    return Span(
        least=math.fsum(span.least for span in parts),
        expected=math.fsum(span.expected for span in parts),
        most=math.fsum(span.most for span in parts),
    )
