"""Setup of all tests: one thread per process, shape checks, a temporary TELESCOPE_HOME."""

import os
import signal
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("TELESCOPE_COMPILE", "never")  # tests of compilation set it themselves

import pytest
import torch
from jaxtyping import install_import_hook

torch.set_num_threads(1)
# a shell that starts pytest in the background makes it and its children ignore Ctrl-C
signal.signal(signal.SIGINT, signal.default_int_handler)
# modules whose tensor shapes are checked at every call
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
    """One TELESCOPE_HOME for all tests of a run, so that python-stdlib is tokenised once."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def telescope_home(session_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set TELESCOPE_HOME for this test."""
    monkeypatch.setenv("TELESCOPE_HOME", str(session_home))
    return session_home
