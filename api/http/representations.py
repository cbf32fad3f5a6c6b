"""The formats of responses, JSON and CSV, and the ETags of responses.

`preferred` chooses the format that an Accept header prefers (RFC 9110, section 12.5.1). `csv_text`
writes rows as CSV (RFC 4180). `entity_tag` makes an ETag from everything that a response depends
on. `matches_etag` compares an ETag with the header If-None-Match.
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
    """Return the offered media type that an Accept header ranks highest.

    Among types of equal weight, the first in `offered` is returned. An empty header accepts every
    type. Returns None if the header accepts none of the offered types.
    """
    ranges = {"*/*": 1.0}
    if accept.strip():
        ranges = dict(filter(None, map(_media_range, accept.split(","))))
    best = max(offered, key=lambda media: _weight(media, ranges))
    return best if _weight(best, ranges) > 0 else None


def _media_range(text: str) -> tuple[str, float] | None:
    """Parse one item of an Accept header into its media range and its weight.

    The weight is the parameter q, by default 1; other parameters are ignored. Returns None if the
    item is malformed.
    """
    media, *parameters = (part.strip().lower() for part in text.split(";"))
    weights = [parameter[2:] for parameter in parameters if parameter.startswith("q=")]
    try:
        return (media, float(weights[0]) if weights else 1.0) if media else None
    except ValueError:
        return None


def _weight(media: str, ranges: dict[str, float]) -> float:
    """Return the weight of the most specific range that contains the media type.

    Returns 0 if no range contains the media type.
    """
    for media_range in (media, f"{media.partition('/')[0]}/*", "*/*"):
        if media_range in ranges:
            return ranges[media_range]
    return 0.0


def csv_text(rows: Iterable[Any], row_type: type) -> str:
    """Format rows as CSV with one column per field of the dataclass `row_type`.

    None becomes an empty cell, and numbers keep all their digits.
    """
    names = [field.name for field in fields(row_type)]
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(names)
    writer.writerows([_cell(getattr(row, name)) for name in names] for row in rows)
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    """Spell a boolean as in JSON; return any other value unchanged."""
    return json.dumps(value) if isinstance(value, bool) else value


def entity_tag(*parts: Any) -> str:
    """Return a strong ETag for a response that depends on these parts and on nothing else."""
    return f'"{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]}"'


def matches_etag(tag: str, if_none_match: str | None) -> bool:
    """True if the header If-None-Match contains this ETag or `*`."""
    tags = {item.strip().removeprefix("W/") for item in (if_none_match or "").split(",")}
    return tag in tags or "*" in tags


def tag_of(row: JobRow) -> str:
    """Return the ETag of a job and of the job's result: the job's version number in quotes."""
    return f'"{row.version}"'


def tagged(row: JobRow, document: Any) -> Response:
    return JSONResponse(document, headers={"ETag": tag_of(row)})


def not_modified(row: JobRow, if_none_match: str | None) -> Response | None:
    """Return a response with status 304 if the client already has this version of the job.

    Returns None if the client does not have this version.
    """
    if not matches_etag(tag_of(row), if_none_match):
        return None
    return Response(status_code=304, headers={"ETag": tag_of(row)})
