"""Invalid settings are refused by the commands that use them, under the names users know."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from api.cli.main import app
from api.cli.service import configured
from telescope.errors import InvalidInput

SERVE = ("executor", "workers")  # options of a command that runs trials
BOTH = "--executor (or TELESCOPE_EXECUTOR)"


@pytest.mark.parametrize(
    ("executor", "loggers", "options", "fields"),
    [
        ("ray", "tensorboard", SERVE, ["TELESCOPE_TUNE_LOGGERS"]),
        ("ray_tune", "tensorbord", SERVE, ["TELESCOPE_TUNE_LOGGERS"]),
        ("ray_tune", "a,mlflow,b", SERVE, ["TELESCOPE_TUNE_LOGGERS", "TELESCOPE_TUNE_LOGGERS"]),
        ("tune", "tensorboard", SERVE, [BOTH]),
        ("tune", "tensorboard", ("database_url",), ["TELESCOPE_EXECUTOR"]),
    ],
)
def test_an_error_names_the_variable_and_the_option_if_the_command_has_one(
    monkeypatch: pytest.MonkeyPatch,
    executor: str,
    loggers: str,
    options: tuple[str, ...],
    fields: list[str],
) -> None:
    monkeypatch.setenv("TELESCOPE_EXECUTOR", executor)
    monkeypatch.setenv("TELESCOPE_TUNE_LOGGERS", loggers)
    with pytest.raises(InvalidInput) as refused:
        configured(dict.fromkeys(options))
    assert [problem.field for problem in refused.value.problems] == fields


def test_loggers_without_ray_tune_stop_the_coordinator_but_no_migration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TELESCOPE_TUNE_LOGGERS", "tensorboard")
    database = ["--database-url", f"sqlite:///{tmp_path / 'jobs.db'}"]
    migrated = CliRunner().invoke(app, ["migrate", *database])
    assert migrated.exit_code == 0, migrated.output
    refused = CliRunner().invoke(app, ["coordinator", *database])
    assert refused.exit_code == 2
    assert "choose the executor ray_tune, or unset this" in refused.output
