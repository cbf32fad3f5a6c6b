"""Setup of all tests: one thread per process, shape checks, a temporary TELESCOPE_HOME."""

import os
import signal
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("TELESCOPE_COMPILE", "never")  # unless a test is about it

import pytest
import torch
from jaxtyping import install_import_hook

torch.set_num_threads(1)
signal.signal(
    signal.SIGINT, signal.default_int_handler
)  # a background run, and so its children, would ignore Ctrl-C
SHAPED = (
    "models.attention",
    "models.transformer",
    "optim.newton_schulz",
    "train.pack",
    "optim.qk_clip",
)
install_import_hook(
    [f"telescope.{name}" for name in SHAPED], "beartype.beartype"
)  # checks shapes at every call

pytest_plugins = ["tests.databases"]


@pytest.fixture(scope="session")
def session_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One TELESCOPE_HOME for the whole run, so that python-stdlib is tokenised once."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def telescope_home(session_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set TELESCOPE_HOME for this test."""
    monkeypatch.setenv("TELESCOPE_HOME", str(session_home))
    return session_home
