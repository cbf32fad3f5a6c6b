"""Pagination by keyset.

A page token, opaque to callers, holds the name of the list that it belongs to, filters included,
and the sort key of the last row. For computed rows, which are all in memory (`cut`), the key is the
number of earlier rows.
"""

import base64
import json
from collections.abc import Sequence
from typing import Any

from api.store.rows import Page, Row
from telescope.errors import InvalidInput

MAX_PAGE_SIZE = 1000


def row_limit(page_size: int) -> int:
    """Number of rows to read for a page: one more than it has, to detect a next page."""
    if page_size < 1:
        raise InvalidInput.of("page_size", "must be at least 1", page_size)
    return min(page_size, MAX_PAGE_SIZE) + 1


def page(rows: list[Any], page_size: int, asked: str) -> Page[Any]:
    """Make a page of at most `row_limit` rows; `asked` names the list."""
    size = row_limit(page_size) - 1
    token = _token(asked, rows[size - 1].id) if len(rows) > size else None
    return Page(tuple(rows[:size]), token)


def cut(rows: Sequence[Row], page_size: int, page_token: str | None, asked: str) -> Page[Row]:
    """Cut a page from rows that are all in memory; `asked` names everything that they depend on."""
    start = continued_after(page_token, asked, int) if page_token else 0
    end = start + row_limit(page_size) - 1
    return Page(tuple(rows[start:end]), _token(asked, end) if len(rows) > end else None)


def _token(asked: str, key: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps([asked, key]).encode()).decode().rstrip("=")


def continued_after(page_token: str, asked: str, kind: type) -> Any:
    """Return the sort key in a page token; InvalidInput if the token is from another list."""
    try:
        of, key = json.loads(base64.urlsafe_b64decode(page_token + "=" * (-len(page_token) % 4)))
    except (ValueError, TypeError):
        of, key = None, None
    if of != asked or type(key) is not kind or (isinstance(key, int) and not 0 <= key < 2**63):
        message = "is not from this list with these filters; leave it out for the first page"
        raise InvalidInput.of("page_token", message, page_token)
    return key
