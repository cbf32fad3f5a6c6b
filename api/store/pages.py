"""Pages of long lists.

Each page except the last comes with a token, with which a client requests the next page. A token
holds two values: a text that identifies the list and its filters (`listing`), and the sort key of
the last row on the page. The next page begins after this key. For lists in memory (`cut`), the key
is the number of rows on all pages so far.
"""

import base64
import json
from collections.abc import Sequence
from typing import Any

from api.store.rows import Page, RowType
from telescope.errors import InvalidInput

MAX_PAGE_SIZE = 1000


def row_limit(page_size: int) -> int:
    """Return the number of rows to read for a page: one more than the page holds.

    The additional row shows whether there is a next page. A page holds `page_size` rows, but at
    most `MAX_PAGE_SIZE`. Raises InvalidInput if `page_size` is less than 1.
    """
    if page_size < 1:
        raise InvalidInput.of("page_size", "must be at least 1", page_size)
    return min(page_size, MAX_PAGE_SIZE) + 1


def page(rows: list[Any], page_size: int, listing: str) -> Page[Any]:
    """Make a page from the rows that a query with the limit `row_limit(page_size)` returned.

    Each row has its sort key in the attribute `id`. `listing` identifies the list and its filters.
    """
    size = row_limit(page_size) - 1
    token = _token(listing, rows[size - 1].id) if len(rows) > size else None
    return Page(tuple(rows[:size]), token)


def cut(
    rows: Sequence[RowType], page_size: int, page_token: str | None, listing: str
) -> Page[RowType]:
    """Cut a page from a list in memory.

    `listing` identifies the list with its content. If the rows change, `listing` must change, too.
    """
    start = continued_after(page_token, listing, int) if page_token else 0
    end = start + row_limit(page_size) - 1
    return Page(tuple(rows[start:end]), _token(listing, end) if len(rows) > end else None)


def _token(listing: str, key: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps([listing, key]).encode()).decode().rstrip("=")


def continued_after(page_token: str, listing: str, key_type: type) -> Any:
    """Return the sort key in a page token.

    Raises InvalidInput if the token is not valid or was made for another `listing`.
    """
    padding = "=" * (-len(page_token) % 4)
    try:
        token_listing, key = json.loads(base64.urlsafe_b64decode(page_token + padding))
    except (ValueError, TypeError):
        token_listing, key = None, None
    in_range = not isinstance(key, int) or 0 <= key < 2**63
    if token_listing != listing or type(key) is not key_type or not in_range:
        problem = "is not from this list with these filters, or the list has changed since"
        message = f"{problem}; leave out the token to get the first page"
        raise InvalidInput.of("page_token", message, page_token)
    return key
