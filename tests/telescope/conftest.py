"""Fixtures of the tests that compare Muon with torch's."""

import pytest

from telescope.optim import newton_schulz


@pytest.fixture
def same_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Muon multiply matrices as torch.optim.Muon does, so that all bits can be compared.

    On a CPU without products of bfloat16 matrices, telescope's roundings otherwise differ.
    """
    monkeypatch.setattr(newton_schulz, "lacks_product", lambda _: False)
