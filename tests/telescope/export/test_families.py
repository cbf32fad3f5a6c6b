"""How an exported file prepares a user's model that its reader builds."""

from typing import Any

import pytest

from telescope.export import torch_code
from tests.telescope.export.answers import run_of

FACTORY = "tests.telescope.user_models:mixture"
MIXTURE = {
    "family": "module",
    "factory": FACTORY,
    "base_width": 16,
    "calibration_width": 32,
    "target_width": 64,
}
AT_ITS_BASE = MIXTURE | {"calibration_width": 16, "target_width": 16}
RESCALED = MIXTURE | {"factory": "tests.telescope.user_models:ours", "head_form": "rescaled"}


@pytest.mark.parametrize(
    ("model", "multipliers"),
    [
        (MIXTURE, '(("block.router", "input", 0.25), ("out", "input", 0.25))'),
        (AT_ITS_BASE, "()"),
        (RESCALED, "()"),
    ],
    ids=["multiplier", "base width", "rescaled head"],
)
def test_readouts_of_a_users_model_are_multiplied_on_their_input(
    model: dict[str, Any], multipliers: str
) -> None:
    lines = torch_code.module_text(run_of("adamw", model)).splitlines()
    (line,) = (line for line in lines if line.startswith("MULTIPLIERS"))
    assert line.partition(" = ")[2] == multipliers


@pytest.mark.parametrize(
    ("model", "changes", "rescaled"),
    [
        (MIXTURE, {}, True),
        (AT_ITS_BASE, {}, False),
        (AT_ITS_BASE, {"optimizer_options": {"init_scale": 0.5}}, True),
    ],
    ids=["wider", "base width", "init_scale"],
)
def test_initial_values_are_rescaled_where_they_are_not_the_factorys(
    model: dict[str, Any], changes: dict[str, Any], rescaled: bool
) -> None:
    run = run_of("adamw", model, **changes)
    width = run.spec.model.width
    preparation = [
        "torch.manual_seed(0)",
        f"model = mixture({width})  # of {FACTORY}",
        *(["rescale(model)"] if rescaled else []),
        "configure(model)",
    ]
    text = torch_code.module_text(run)
    header = text.split('"""')[1]
    assert "\n".join(f"    {line}" for line in preparation) in header
    assert ("def rescale(" in text) == rescaled
