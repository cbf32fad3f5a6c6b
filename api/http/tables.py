"""Tables over HTTP: as JSON in pages, or as CSV with all rows, whichever the Accept header prefers.

Parts: `ALSO_CSV`, the OpenAPI entry of a table's response · `preferred_media`, the choice of the
media type.
"""

from typing import Any

from fastapi import Request
from starlette.exceptions import HTTPException

from api.http.representations import CSV, JSON, preferred
from telescope.errors import InvalidInput

DEFAULT_PAGE_SIZE = 50
TABLE_HEADERS = {"ETag": {"schema": {"type": "string"}}, "Vary": {"schema": {"type": "string"}}}
ALSO_CSV: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "In JSON, a page of rows and the summary of the table; in CSV, all rows.",
        "content": {CSV: {"schema": {"type": "string"}}},
        "headers": TABLE_HEADERS,
    }
}


def preferred_media(request: Request, page_size: int, page_token: str | None) -> str:
    """Return the media type that the client prefers, JSON or CSV.

    Raises HTTPException with status 406 if the client accepts neither, and InvalidInput if the
    client asks for a page of CSV.
    """
    media = preferred(",".join(request.headers.getlist("Accept")), (JSON, CSV))
    if media is None:
        raise HTTPException(406, f"tables are sent as {JSON} or {CSV}; accept one of these types")
    if media == CSV and (page_size or page_token):
        message = "CSV has all rows on one page; leave out page_size and page_token, or accept JSON"
        field, value = ("page_size", page_size) if page_size else ("page_token", page_token)
        raise InvalidInput.of(field, message, value)
    return media
