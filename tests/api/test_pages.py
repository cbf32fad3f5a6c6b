"""Page tokens: what was forged is refused before the database sees it."""

import base64
import json

import pytest

from api.pages import continued_after
from telescope.errors import InvalidInput


def token(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def test_a_token_of_this_list_gives_its_key() -> None:
    assert continued_after(token(["trials", 7]), "trials", int) == 7


@pytest.mark.parametrize("forged", [["trials", 2**63], ["trials", -1], ["trials", "7"], ["trials", True], ["jobs", 7], [7], 7, None])
def test_a_forged_token_is_refused(forged: object) -> None:
    with pytest.raises(InvalidInput, match="page_token"):
        continued_after(token(forged), "trials", int)
