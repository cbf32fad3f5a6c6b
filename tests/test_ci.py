""".ci/run passes if every target of make passes, and ends a target that takes too long."""

import os
import subprocess
from pathlib import Path

from tests.needs import ROOT


def ci(folder: Path, test: str, limit_seconds: int = 60) -> tuple[int, str]:
    """Exit status and output of .ci/run on a project whose `make test` is this command."""
    (folder / ".ci").mkdir()
    (folder / ".ci" / "run").symlink_to(ROOT / ".ci" / "run")
    (folder / "Makefile").write_text(f"check slow:\n\t@echo made $@\ntest:\n\t@{test}\n")
    # without the variables of the make that runs these tests
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))
    }
    environment["CI_LIMIT_SECONDS"] = str(limit_seconds)
    process = subprocess.run(
        [folder / ".ci" / "run"], env=environment, stdout=subprocess.PIPE, text=True, timeout=120
    )
    return process.returncode, process.stdout


def test_a_project_whose_targets_all_pass_passes(tmp_path: Path) -> None:
    assert ci(tmp_path, "true") == (0, "made check\nmade slow\nci: passed\n")


def test_the_first_target_that_fails_ends_the_run(tmp_path: Path) -> None:
    status, output = ci(tmp_path, "false")
    assert status != 0
    assert "made slow" not in output
    assert output.endswith(f"ci: failed ({status})\n")


def test_a_run_longer_than_its_limit_is_ended_and_fails(tmp_path: Path) -> None:
    status, output = ci(tmp_path, f"sleep 600 & echo $$! >{tmp_path}/pid; wait", limit_seconds=2)
    assert status != 0
    assert "ci: over its limit of 0 min 2 s, in make test\n" in output
    assert "made slow" not in output
    command_line = Path("/proc", (tmp_path / "pid").read_text().strip(), "cmdline")
    ended = not command_line.exists() or not command_line.read_bytes()  # a zombie's is empty
    assert ended, "the child of the target still runs"
