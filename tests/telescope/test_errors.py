"""Problems name fields of the user's document, even if only a block of it was checked."""

import pytest

from telescope.errors import Problem, under


def test_the_problem_of_a_block_is_named_from_the_documents_root() -> None:
    problem = Problem("batch_tokens", "too small", 3)
    assert under("horizon", problem) == Problem("horizon.batch_tokens", "too small", 3)


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
def test_only_problems_of_a_block_move_with_it(field: str, within: bool, moved: str) -> None:
    problem = Problem(field, "too small", 3)
    assert problem.within("model") is within
    assert problem.moved("model", "sweep_over.model.1") == Problem(moved, "too small", 3)
