"""Labels of trials, also in databases that were filled before trials had labels."""

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from api.jobs import variants
from api.store.record import CoordinatorStore
from api.store.rows import TrialRow
from telescope.studies import registry
from telescope.trials.outcome import TrialState
from tests.api.coordinator.test_coordinator import document

ARCHITECTURES = {"model": [{"name": "plain"}, {"name": "tied", "tied_embeddings": True}]}
UNLABELLED = "UPDATE trials SET ladder = NULL, stage = NULL, level = NULL, variant = NULL"


def planned(record: CoordinatorStore) -> str:
    """A job over two architectures whose first trials are planned."""
    study = document(sweep_over=ARCHITECTURES, optimizer=["muon", "adamw"])
    job, _ = record.create_job(study)
    record.begin_job(job.id)
    record.plan_trials(job.id, registry.parse(study).plan(()).trials)
    return job.id


def execute(url: str, statement: str) -> None:
    with create_engine(url, poolclass=NullPool).begin() as connection:
        connection.execute(text(statement))


def labels(row: TrialRow) -> tuple[str | None, str | None, int | None, str]:
    return row.ladder, row.stage, row.level, row.variant


def test_rows_have_the_labels_that_were_planned(record: CoordinatorStore) -> None:
    job_id = planned(record)
    rows = list(variants.every_trial(record, job_id))
    assert {labels(row) for row in rows} == {
        (ladder, "grid", 0, variant)
        for ladder in ("muon", "adamw")
        for variant in ("plain", "tied")
    }
    assert rows == list(record.trials(job_id, 1000).items)


def test_an_old_row_has_a_ladder_and_a_variant_and_neither_stage_nor_level(
    record: CoordinatorStore, database_url: str
) -> None:
    job_id = planned(record)
    before = list(variants.every_trial(record, job_id))
    execute(database_url, UNLABELLED)
    old = list(variants.every_trial(record, job_id))
    assert [labels(row) for row in old] == [(row.ladder, None, None, row.variant) for row in before]
    execute(
        database_url,
        "UPDATE trials SET ladder = optimizer, stage = 'grid', level = 0, variant = 'mine' "
        "WHERE id % 2 = 0",
    )
    mixed = variants.trials_page(record, job_id, record.trials(job_id, 1000)).items
    assert {row.variant for row in mixed if row.id % 2 == 0} == {"mine"}
    assert [labels(row) for row in mixed if row.id % 2] == [
        labels(row) for row in old if row.id % 2
    ]


def test_only_the_old_rows_of_a_page_are_looked_up(
    record: CoordinatorStore, database_url: str
) -> None:
    job_id = planned(record)
    execute(database_url, f"{UNLABELLED} WHERE id <= 3")
    fresh = CoordinatorStore(database_url)
    page = fresh.trials(job_id, 2)
    labelled_page = variants.trials_page(fresh, job_id, page)
    fresh.close()
    assert [row.ladder for row in labelled_page.items] == [row.optimizer for row in page.items]
    assert fresh._specs.keys() == {row.digest for row in page.items}


def test_every_trial_of_a_state_is_found_over_all_pages(
    record: CoordinatorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = planned(record)
    monkeypatch.setattr(variants, "LARGE_PAGE", 3)
    assert list(variants.every_trial(record, job_id, TrialState.COMPLETED)) == []
    assert list(variants.every_trial(record, job_id, TrialState.PENDING)) == list(
        record.trials(job_id, 1000).items
    )
