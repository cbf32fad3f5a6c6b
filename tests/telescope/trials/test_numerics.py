"""Every trial records the arithmetic of its loss."""

import pytest
import torch

from telescope.trials.numerics import REVISION, numerics
from tests.telescope.train.test_loop import GOLDEN


def test_losses_and_revision_change_together() -> None:
    assert (REVISION, GOLDEN) == (1, {"muon": 3.1846, "adamw": 3.3028}), (
        "training computes other losses: increase REVISION"
    )


def test_torch_device_and_code_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    # every later version writes 0.1.0, too
    expected = f"torch {torch.__version__} on cpu, telescope 0.1.0 revision {REVISION}"
    assert numerics() == expected
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H200")
    assert " on NVIDIA H200, " in numerics()
