"""Problems name fields of the user's document, wherever a block of it was checked."""

import pytest

from telescope.errors import Problem, under


def test_the_problem_of_a_blocks_field_is_named_from_outside_of_it() -> None:
    assert under("horizon", Problem("batch_tokens", "too small", 3)) == Problem(
        "horizon.batch_tokens", "too small", 3
    )


@pytest.mark.parametrize(
    ("field", "within", "moved"),
    [
        ("model", True, "sweep_over.model.1"),
        ("model.depth", True, "sweep_over.model.1.depth"),
        ("model.model.depth", True, "sweep_over.model.1.model.depth"),
        ("models", False, "models"),
        ("models.depth", False, "models.depth"),
        ("data.model", False, "data.model"),
        ("", False, ""),
    ],
)
def test_problems_of_a_block_follow_it_and_no_others_do(
    field: str, within: bool, moved: str
) -> None:
    problem = Problem(field, "too small", 3)
    assert problem.within("model") is within
    assert problem.moved("model", "sweep_over.model.1") == Problem(moved, "too small", 3)
