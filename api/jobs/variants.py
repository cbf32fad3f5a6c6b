"""Which variant does a trial belong to, where a job compares architectures or texts?

Told by its specification when it is asked for: a trial is what it is, whichever jobs and variants it serves, and its row says nothing
of them.
"""

from collections.abc import Iterable
from dataclasses import replace

from api.store.rows import Page, TrialRow
from api.store.store import Store
from telescope.studies import registry
from telescope.studies.telescoping.question.question import Question
from telescope.studies.telescoping.question.variants import FIELD, variant_of


def trials(store: Store, job_id: str, found: Page[TrialRow]) -> Page[TrialRow]:
    """A page of a job's trials, with the names of their variants."""
    return replace(found, items=tuple(named(store, job_id, found.items)))


def named(store: Store, job_id: str, rows: Iterable[TrialRow]) -> Iterable[TrialRow]:
    """A job's trials with the names of their variants, if it has any."""
    rows, document = tuple(rows), store.study_document(job_id)
    study = registry.parse(document).question if document.get(FIELD) else None
    if not isinstance(study, Question):
        return rows
    specs = store.specs(job_id)
    return (replace(row, variant=variant_of(study, specs[row.digest])) for row in rows)
