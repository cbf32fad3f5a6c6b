"""Commands that need a missing extra are refused before they start."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from api.cli.main import app
from api.examples import EXAMPLES
from telescope import extras

QUICKSTART, SWEEP = str(EXAMPLES["quickstart"].path), str(EXAMPLES["sweep"].path)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("ray", ("serve", "--port", "0")),
        ("ray", ("coordinator",)),
        ("ray", ("run", QUICKSTART)),
        ("ray", ("run", QUICKSTART, "--executor", "ray_tune")),
        ("plots", ("run", QUICKSTART, "--plot", "result.png")),
        ("plots", ("judge", SWEEP, "--plot", "sweep.png")),
    ],
)
def test_a_missing_extra_ends_a_command_before_it_starts(
    extra: str, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(extras.PACKAGES, extra, ("no_such_module",))  # type: ignore[arg-type]
    monkeypatch.setenv("TELESCOPE_HOME", str(tmp_path / "home"))
    result = CliRunner().invoke(app, list(words))
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"telescope's extra `{extra}`" in result.stderr
    assert not (tmp_path / "home" / "telescope.db").exists()
