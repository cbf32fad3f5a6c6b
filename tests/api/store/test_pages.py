"""Pages of rows, and forged page tokens, which never reach the database."""

import base64
import json

import pytest

from api.store.pages import continued_after, cut
from telescope.errors import InvalidInput


def token(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def test_a_token_of_this_list_gives_its_key() -> None:
    assert continued_after(token(["trials", 7]), "trials", int) == 7


@pytest.mark.parametrize(
    "forged",
    [
        ["trials", 2**63],
        ["trials", -1],
        ["trials", "7"],
        ["trials", True],
        ["jobs", 7],
        [7],
        7,
        None,
    ],
)
def test_a_forged_token_is_refused(forged: object) -> None:
    with pytest.raises(InvalidInput, match="page_token"):
        continued_after(token(forged), "trials", int)


def test_pages_of_a_list_join_to_the_complete_list() -> None:
    rows, joined, page_token = list(range(7)), list[int](), None
    while True:
        page = cut(rows, 3, page_token, "numbers")
        joined += page.items
        page_token = page.next_page_token
        if page_token is None:
            break
    assert joined == rows
    assert cut(rows, 7, None, "numbers").next_page_token is None
    assert cut([], 3, None, "numbers").items == ()


def test_a_page_token_of_rows_that_have_changed_is_refused() -> None:
    page_token = cut(range(7), 3, None, "version 1").next_page_token
    assert cut(range(7), 3, page_token, "version 1").items == (3, 4, 5)
    with pytest.raises(InvalidInput, match="page_token"):
        cut(range(7), 3, page_token, "version 2")
