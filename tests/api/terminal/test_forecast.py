"""Forecasts use the measurements of this installation, and print every line of the bill."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import migrations
from api.jobs import machine
from api.settings import Settings
from api.store.curves import encode
from api.store.record import CoordinatorStore
from api.store.rows import Begun
from api.store.store import Store
from api.terminal import forecast
from surfaces.bowls import document, study
from telescope.studies.registry import report_document
from telescope.studies.telescoping.forecast.preview import preview
from tests.api.trials import DOCUMENT, labelled, outcome, spec


def printed(document: dict[str, Any]) -> str:
    output = io.StringIO()
    forecast.show_forecast(document, Console(width=200, file=output))
    return output.getvalue()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(database_url=f"sqlite:///{tmp_path / 'telescope.db'}", workers=3)


def test_without_a_database_there_are_no_measurements_and_none_is_created(
    settings: Settings, tmp_path: Path
) -> None:
    measurements = machine.measurements_in_installation(settings)
    assert (measurements.rates, measurements.slots, measurements.encode) == ((), 3, encode)
    assert list(tmp_path.iterdir()) == []
    assert machine.slots(Settings(executor="local", workers=3)) == 1


def test_a_database_of_another_version_has_no_measurements(settings: Settings) -> None:
    Path(settings.database_url.removeprefix("sqlite:///")).touch()
    assert machine.measurements_in_installation(settings).rates == ()


def test_seconds_come_from_the_trials_of_this_installation(settings: Settings) -> None:
    question = study(optimizer="adamw")
    assert preview(question, machine.measurements_in_installation(settings)).estimated
    migrations.upgrade(settings.database_url)
    record = CoordinatorStore(settings.database_url)
    job, _ = record.create_job(DOCUMENT)
    record.begin_job(job.id)
    record.plan_trials(job.id, labelled([spec(0)]))
    (trial,) = record.trials(job.id).items
    record.trial_started(trial.id, 1, Begun(0, "worker", "torch on a test"))
    record.trial_finished(trial.id, *outcome(spec(0)))
    record.close()
    measurements = machine.measurements_in_installation(settings)
    forecast = preview(question, measurements)
    assert not forecast.estimated
    pace = forecast.ladders[0].pace
    assert pace.flops_per_second == pytest.approx(1e7)
    assert "1 runs of adamw at width 32, batches of 32 tokens, torch on a test" in pace.source
    store = Store(settings.database_url)
    assert machine.measurements_in_database(settings, store) == measurements
    store.close()


def test_the_printed_forecast_has_the_bill_the_alternatives_and_the_advice() -> None:
    question = study(
        coordinates="check",
        validate_at_target=True,
        limits={"max_trials": 4000, "max_base_runs": 60},
    )
    output = printed(report_document(preview(question)))
    for words in (
        "coordinate check",
        "rounds 1 to 4",
        "edge rule",
        "top-up",
        "runs at the target",
        "all (the cost cannot exceed the most)",
    ):
        assert words in output
    for words in (
        "copy",
        "copy with seeds",
        "step law",
        "sweep target",
        "octave",
        "estimated",
        "verdict unresolved",
        "of checkpoints",
    ):
        assert words in output
    assert (
        "(estimated: no earlier runs are known here; "
        "the assumed speed is 20 GFLOP/s and 2.5 ms per block and step, as on one CPU thread)"
    ) in output
    # tuning is cheap in comparison with the final run at this width
    large = document()["model"] | {"target_width": 1024}
    two_ladders = printed(report_document(preview(study(optimizer=["muon", "adamw"], model=large))))
    assert "Muon: rounds 1 to 4" in two_ladders
    assert "AdamW: rounds 1 to 4" in two_ladders
    assert "Advice" not in two_ladders
