""".ci/run passes if every target does, and ends a target that takes too long."""

import os
import subprocess
from pathlib import Path

from tests.needs import ROOT


def ci(folder: Path, test: str, limit_seconds: int = 60) -> tuple[int, str]:
    """Exit status and output of .ci/run on a project whose `make test` is this command."""
    (folder / ".ci").mkdir()
    (folder / ".ci" / "run").symlink_to(ROOT / ".ci" / "run")
    (folder / "Makefile").write_text(f"check slow:\n\t@echo made $@\ntest:\n\t@{test}\n")
    outside = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))
    }  # these tests run under make
    environment = outside | {"CI_LIMIT_SECONDS": str(limit_seconds)}
    done = subprocess.run(
        [folder / ".ci" / "run"], env=environment, stdout=subprocess.PIPE, text=True, timeout=120
    )
    return done.returncode, done.stdout


def test_what_passes_in_every_tier_passes(tmp_path: Path) -> None:
    assert ci(tmp_path, "true") == (0, "made check\nmade slow\nci: passed\n")


def test_the_first_target_that_fails_ends_it(tmp_path: Path) -> None:
    status, output = ci(tmp_path, "false")
    assert status != 0
    assert "made slow" not in output
    assert output.endswith(f"ci: failed ({status})\n")


def test_what_takes_longer_than_its_limit_is_ended_and_fails(tmp_path: Path) -> None:
    status, output = ci(tmp_path, f"sleep 600 & echo $$! >{tmp_path}/pid; wait", limit_seconds=2)
    assert status != 0
    assert "ci: over its limit of 0 min 2 s, in make test\n" in output
    assert "made slow" not in output
    left = Path("/proc", (tmp_path / "pid").read_text().strip(), "cmdline")
    assert not (left.exists() and left.read_bytes()), "it still runs, and is no zombie"
