"""How does a list continue where its last page ended?

By keyset: a page token names the list it belongs to, filters included, and the sort key of the last row. It is opaque to callers.
"""

import base64
import json
from typing import Any

from api.rows import Page
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
    token = json.dumps([asked, rows[shown - 1].id]) if len(rows) > shown else None
    return Page(tuple(rows[:shown]), base64.urlsafe_b64encode(token.encode()).decode().rstrip("=") if token else None)


def continued_after(page_token: str, asked: str, kind: type) -> Any:
    """The sort key that a page token continues after; a token holds for the list that gave it alone."""
    try:
        of, key = json.loads(base64.urlsafe_b64decode(page_token + "=" * (-len(page_token) % 4)))
    except (ValueError, TypeError):
        of, key = None, None
    if of != asked or type(key) is not kind or (isinstance(key, int) and not 0 <= key < 2**63):
        raise InvalidInput.of("page_token", "was not given by this list with these filters; leave it out to start anew", page_token)
    return key
