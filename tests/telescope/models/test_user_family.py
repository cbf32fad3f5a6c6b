"""The family of users' modules gives a reason for each width that it cannot build."""

import pytest

from telescope.models.user_family import MODULE
from telescope.trials.model import ModuleSpec
from telescope.trials.types import Parametrisation

OURS, BY_HAND = "tests.telescope.user_models:ours", "tests.telescope.awkward:tied_by_hand"


@pytest.mark.parametrize(
    ("factory", "width", "parametrisation", "words"),
    [
        (OURS, 24, "standard", None),
        (OURS, 20, "standard", "choose a width at which the factory can"),  # its heads are of 8
        (BY_HAND, 32, "standard", None),
        (BY_HAND, 32, "mup", "model.head_form"),  # no module applies the head's multiplier
        (BY_HAND, 16, "mup", None),  # the multiplier is 1 at the base width
    ],
)
def test_a_width_that_cannot_be_built_has_a_reason_and_a_remedy(
    factory: str, width: int, parametrisation: Parametrisation, words: str | None
) -> None:
    model = ModuleSpec(family="module", factory=factory, width=16, base_width=16)
    problem = MODULE.width_problem(model, width, parametrisation)
    assert (problem is None) == (words is None), problem
    assert (words or "") in (problem or "")
