"""How does a list continue where its last page ended?

By keyset: a page token names the list it belongs to, filters included, and the sort key of the last row. It is opaque to callers. Of rows
that are computed, and so all at hand (`cut`), the key is how many came before.
"""

import base64
import json
from collections.abc import Sequence
from typing import Any

from api.store.rows import Page, Row
from telescope.errors import InvalidInput

MAX_PAGE_SIZE = 1000


def row_limit(page_size: int) -> int:
    """Rows to read for a page: one more than it shows, to know whether there is a next one."""
    if page_size < 1:
        raise InvalidInput.of("page_size", "must be at least 1", page_size)
    return min(page_size, MAX_PAGE_SIZE) + 1


def page(rows: list[Any], page_size: int, asked: str) -> Page[Any]:
    """A page of the rows that `row_limit` let in; `asked` names the list."""
    shown = row_limit(page_size) - 1
    return Page(tuple(rows[:shown]), _token(asked, rows[shown - 1].id) if len(rows) > shown else None)


def cut(rows: Sequence[Row], page_size: int, page_token: str | None, asked: str) -> Page[Row]:
    """A page of rows that are all at hand and stay what they are; `asked` names all that they depend on."""
    start = continued_after(page_token, asked, int) if page_token else 0
    end = start + row_limit(page_size) - 1
    return Page(tuple(rows[start:end]), _token(asked, end) if len(rows) > end else None)


def _token(asked: str, key: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps([asked, key]).encode()).decode().rstrip("=")


def continued_after(page_token: str, asked: str, kind: type) -> Any:
    """The sort key that a page token continues after; a token holds for the list that gave it alone."""
    try:
        of, key = json.loads(base64.urlsafe_b64decode(page_token + "=" * (-len(page_token) % 4)))
    except (ValueError, TypeError):
        of, key = None, None
    if of != asked or type(key) is not kind or (isinstance(key, int) and not 0 <= key < 2**63):
        raise InvalidInput.of("page_token", "was not given by this list with these filters; leave it out to start anew", page_token)
    return key
