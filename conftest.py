"""The setup of all tests.

Every test uses one CPU thread, and a temporary folder as TELESCOPE_HOME, the folder of telescope's
files. In the modules of `SHAPED`, the shapes of tensors are checked.
"""

import os
import signal
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("TELESCOPE_COMPILE", "never")  # tests of compilation set another value

import pytest
import torch
from jaxtyping import install_import_hook

torch.set_num_threads(1)
# Restore Python's handler of Ctrl-C: a shell that starts pytest in the background makes pytest and
# its child processes ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
# In these modules, every call of a function checks the shapes of its tensors.
SHAPED = (
    "telescope.models.attention",
    "telescope.models.transformer",
    "telescope.optim.newton_schulz",
    "telescope.optim.qk_clip",
    "telescope.train.pack",
)
install_import_hook(SHAPED, "beartype.beartype")

pytest_plugins = ["tests.databases"]


@pytest.fixture(scope="session")
def session_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make one TELESCOPE_HOME for all tests of a run.

    The corpus python-stdlib is then tokenised only once.
    """
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def telescope_home(session_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set TELESCOPE_HOME in every test."""
    monkeypatch.setenv("TELESCOPE_HOME", str(session_home))
    return session_home


@pytest.fixture
def same_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Muon multiply matrices as torch.optim.Muon does, so that losses can be compared.

    On a CPU that cannot multiply bfloat16 matrices, the roundings otherwise differ.
    """
    monkeypatch.setattr("telescope.optim.newton_schulz.lacks_product", lambda _: False)
