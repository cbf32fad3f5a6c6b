"""Interruptions of `telescope run`, and its messages about them."""

import io
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from sqlalchemy import event

from api.cli import solo
from api.job_states import JobState, Verb
from api.settings import Settings
from api.store.record import CoordinatorStore
from api.store.rows import JobRow
from surfaces.bowls import document
from telescope.studies import registry
from tests.api.serving import environment

CONTINUES = "the job continues; follow it with: telescope watch {id} (while `telescope serve` runs)"


class Impatient(io.StringIO):
    """A terminal whose user presses Ctrl-C at the first line."""

    def write(self, text: str) -> int:
        signal.raise_signal(signal.SIGINT)
        return super().write(text)


def test_further_interruptions_during_the_request_to_pause_do_not_undo_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELESCOPE_HOME", str(tmp_path))
    study = registry.parse(document())
    with solo.installation(Settings(database_url=f"sqlite:///{tmp_path}/telescope.db")) as store:
        job, _ = store.create_job(registry.to_document(study))
        interruptions: list[int] = []

        def interrupt(*_: Any) -> None:
            interruptions.append(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

        event.listen(store._writer, "before_cursor_execute", interrupt)
        # a coordinator without a database does nothing
        variables = {"TELESCOPE_DATABASE_URL": f"sqlite:///{tmp_path}/nowhere/telescope.db"}
        with (
            solo.running_coordinator(environment(tmp_path) | variables) as child,
            pytest.raises(KeyboardInterrupt),
        ):
            solo.show_until_ended(store, job.id, child, study, Console(file=Impatient()))
        assert len(interruptions) >= 2, "it must be interrupted again, more than once"
        assert store.job(job.id).state is JobState.PAUSED


@pytest.fixture
def row(record: CoordinatorStore) -> JobRow:
    """A queued job."""
    return record.create_job(document())[0]


@pytest.mark.parametrize(
    ("state", "requested", "message"),
    [
        (
            JobState.PAUSED,
            None,
            "Paused; finished work is kept. Resume with: telescope run --resume {id}",
        ),
        (
            JobState.RUNNING,
            Verb.PAUSE,
            "pause requested; a coordinator will carry it out, and finished work is kept. "
            "Resume with: telescope run --resume {id}",
        ),
        (
            JobState.RUNNING,
            Verb.CANCEL,
            "not paused: the job will soon be CANCELLED. Show its result with: "
            "telescope result {id} (while `telescope serve` runs)",
        ),
        (
            JobState.SUCCEEDED,
            None,
            "not paused: the job is SUCCEEDED. Show its result with: "
            "telescope result {id} (while `telescope serve` runs)",
        ),
        (JobState.RUNNING, None, CONTINUES),
        (JobState.QUEUED, None, CONTINUES),
    ],
)
def test_the_last_message_describes_the_state_of_the_interrupted_job(
    row: JobRow, state: JobState, requested: Verb | None, message: str
) -> None:
    assert solo.parting_message(replace(row, state=state, requested=requested)) == message.format(
        id=row.id
    )


def test_a_pause_that_no_coordinator_carries_out_is_described_as_requested(
    record: CoordinatorStore, row: JobRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(solo, "PAUSE_SECONDS", 0.0)
    record.begin_job(row.id)
    assert solo.parting_message(solo.request_pause(record, row.id)).startswith("pause requested; ")


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.CANCELLED])
def test_a_request_to_pause_a_job_that_has_ended_changes_nothing(
    record: CoordinatorStore, row: JobRow, state: JobState
) -> None:
    record.begin_job(row.id)
    ended = record.finish_job(row.id, state, None)
    assert solo.request_pause(record, row.id) == ended


def test_the_coordinator_may_call_the_factory_of_the_jobs_own_model() -> None:
    settings = Settings(factories=("theirs:*",))
    module = {"family": "module", "factory": "tests.telescope.user_models:mixture"}
    study = registry.parse(
        document(model=module | {"base_width": 32, "calibration_width": 256, "target_width": 512})
    )
    assert solo.factories(registry.parse(document()), settings) == {
        "TELESCOPE_FACTORIES": "theirs:*"
    }
    assert solo.factories(study, settings) == {
        "TELESCOPE_FACTORIES": "theirs:*,tests.telescope.user_models:mixture"
    }
