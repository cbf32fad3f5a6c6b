"""In which form does an answer leave, and has its reader seen it before?

`preferred` reads an Accept header (RFC 9110, section 12.5.1), `csv_text` writes rows as CSV (RFC 4180), `entity_tag` names a representation
by everything that it depends on, and `seen` says whether If-None-Match names it.
"""

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

from fastapi import Response
from fastapi.responses import JSONResponse

from api.store.rows import JobRow

JSON = "application/json"
CSV = "text/csv"


def preferred(accept: str, offered: Sequence[str]) -> str | None:
    """The offered media type that a header ranks highest, of equals the first; None where it wants none of them."""
    ranges = dict(filter(None, map(_range, accept.split(",")))) if accept.strip() else {"*/*": 1.0}
    best = max(offered, key=lambda media: _weight(media, ranges))
    return best if _weight(best, ranges) > 0 else None


def _range(text: str) -> tuple[str, float] | None:
    """A media range and its weight; parameters other than q make no difference to what is offered."""
    media, *parameters = (part.strip().lower() for part in text.split(";"))
    weights = [parameter[2:] for parameter in parameters if parameter.startswith("q=")]
    try:
        return (media, float(weights[0]) if weights else 1.0) if media else None
    except ValueError:
        return None


def _weight(media: str, ranges: dict[str, float]) -> float:
    """That of the most specific range which holds it."""
    for holder in (media, f"{media.partition('/')[0]}/*", "*/*"):
        if holder in ranges:
            return ranges[holder]
    return 0.0


def csv_text(rows: Iterable[Any], kind: type) -> str:
    """Frozen values of one type as CSV, a column per field: None is empty, and numbers have all their digits."""
    names = [field.name for field in fields(kind)]
    written = io.StringIO()
    table = csv.writer(written)
    table.writerow(names)
    table.writerows([_cell(getattr(row, name)) for name in names] for row in rows)
    return written.getvalue()


def _cell(value: Any) -> Any:
    """True and false are spelled as in JSON."""
    return json.dumps(value) if isinstance(value, bool) else value


def entity_tag(*parts: Any) -> str:
    """A strong tag of whatever depends on these parts alone."""
    return f'"{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]}"'


def seen(tag: str, if_none_match: str | None) -> bool:
    """Whether the client has what this tag names."""
    named = {one.strip().removeprefix("W/") for one in (if_none_match or "").split(",")}
    return tag in named or "*" in named


def tag_of(row: JobRow) -> str:
    return f'"{row.version}"'


def tagged(row: JobRow, document: Any) -> Response:
    return JSONResponse(document, headers={"ETag": tag_of(row)})


def unless_seen(row: JobRow, if_none_match: str | None) -> Response | None:
    """304 if the client has this version already."""
    return Response(status_code=304, headers={"ETag": tag_of(row)}) if seen(tag_of(row), if_none_match) else None
