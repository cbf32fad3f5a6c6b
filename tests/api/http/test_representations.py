"""The preference of Accept headers, CSV round trips, and the inputs of ETags."""

import csv
import io
import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.http.representations import CSV, JSON, csv_text, entity_tag, matches_etag, preferred
from telescope.statistics.step_time import Origin

OFFERED = (JSON, CSV)


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/json", JSON),
        ("text/csv", CSV),
        ("text/*", CSV),
        ("TEXT/CSV; header=present", CSV),
        ("text/csv, application/json", JSON),
        ("application/json;q=0.5, text/csv", CSV),
        ("application/json;q=0.5, text/csv;q=0.4", JSON),
        ("text/html, application/xhtml+xml, */*;q=0.8", JSON),
        ("application/json;q=0, */*", CSV),
        ("text/csv;q=0.3, */*;q=0.1", CSV),
        ("text/*;q=0.9, text/csv;q=0.1, application/*;q=0.2", JSON),
        ("text/html", None),
        ("application/json;q=0", None),
        ("*/*;q=0", None),
        ("text/csv;q=often", None),
        (",;,", None),
    ],
)
def test_the_preferred_media_type_is_chosen(accept: str, media: str | None) -> None:
    assert preferred(accept, OFFERED) == media


@given(st.text())
def test_every_accept_header_can_be_parsed(accept: str) -> None:
    assert preferred(accept, OFFERED) in (JSON, CSV, None)


@dataclass(frozen=True)
class Row:
    """A row with every kind of value."""

    name: str
    number: float | None
    count: int
    kept: bool
    origin: Origin


def parsed(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


@given(
    st.text(st.characters(exclude_categories=("Cs", "Cc"))),
    st.floats(allow_nan=False),
    st.integers(),
)
def test_rows_come_back_from_csv_as_they_were(name: str, number: float, count: int) -> None:
    text = csv_text([Row(name, number, count, True, Origin.MODELLED)], Row)
    header, row = parsed(text)
    assert header == ["name", "number", "count", "kept", "origin"]
    assert row == [name, repr(number), str(count), "true", "modelled"]
    assert float(row[1]) == number
    assert math.copysign(1, float(row[1])) == math.copysign(1, number)


def test_none_is_an_empty_cell_and_a_table_without_rows_is_a_header() -> None:
    _, line = csv_text([Row("a", None, 0, False, Origin.MEASURED)], Row).splitlines()
    assert line == "a,,0,false,measured"
    assert csv_text([], Row) == "name,number,count,kept,origin\r\n"


def test_a_tag_differs_with_each_part() -> None:
    parts = ["0.1", "job-1", 3, 2.0, None, JSON]
    tags = {entity_tag(*parts)}
    for i, part in enumerate(["0.2", "job-2", 4, math.nextafter(2.0, 3), "muon", CSV]):
        tags.add(entity_tag(*parts[:i], part, *parts[i + 1 :]))
    assert len(tags) == 7
    assert entity_tag(*parts) in tags


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('"a"', True),
        ('W/"a"', True),
        ('"b", "a"', True),
        ("*", True),
        ('"b"', False),
        (None, False),
    ],
)
def test_if_none_match_may_list_tags_or_match_any(header: str | None, expected: bool) -> None:
    assert matches_etag('"a"', header) is expected
