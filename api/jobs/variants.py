"""The variants of trials that were planned before trials carried their labels.

A trial's row says where it stands in its study. In rows from before that, the variant is told by the trial's specification, which is
loaded for them alone.
"""

from collections.abc import Iterable
from dataclasses import replace

from api.store.rows import Page, TrialRow
from api.store.store import Store
from telescope.studies import registry


def trials(store: Store, job_id: str, found: Page[TrialRow]) -> Page[TrialRow]:
    """A page of a job's trials, each with its variant."""
    return replace(found, items=tuple(named(store, job_id, found.items)))


def named(store: Store, job_id: str, rows: Iterable[TrialRow]) -> tuple[TrialRow, ...]:
    """A job's trials, each with its variant."""
    rows = tuple(rows)
    if all(row.ladder is not None for row in rows):
        return rows
    study, specs = registry.parse(store.study_document(job_id)), store.specs(job_id)
    return tuple(
        row if row.ladder is not None else replace(row, variant=study.kind.variant_of(study.question, specs[row.digest])) for row in rows
    )
