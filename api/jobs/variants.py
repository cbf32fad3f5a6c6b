"""Trials with their labels, including trials of old databases.

A trial's row holds its label: the ladder, variant, stage and level of the trial. Rows older than
migration 0005 have no label: their ladder is derived from the optimizer, and their variant from the
specification, which is loaded for these rows only. Their stage and level stay null.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from api.store.rows import Page, TrialFilter, TrialRow
from api.store.store import Store
from telescope.studies import registry
from telescope.trials.outcome import TrialState

LARGE_PAGE = 1000


def every_trial(store: Store, job_id: str, state: TrialState | None = None) -> Iterator[TrialRow]:
    """Yield the trials of a job, by default in every state; they are read page by page."""
    token: str | None = ""
    while token is not None:
        page = store.trials(job_id, LARGE_PAGE, token or None, only=TrialFilter(state=state))
        yield from with_variants(store, job_id, page.items)
        token = page.next_page_token


def trials_page(store: Store, job_id: str, page: Page[TrialRow]) -> Page[TrialRow]:
    """Return a page of a job's trials, each with its ladder and variant."""
    return replace(page, items=with_variants(store, job_id, page.items))


def with_variants(store: Store, job_id: str, rows: Iterable[TrialRow]) -> tuple[TrialRow, ...]:
    """Return `rows`, at most a page of a job's trials, each with its ladder and variant."""
    rows = tuple(rows)
    unlabelled = [row.digest for row in rows if row.ladder is None]
    if not unlabelled:
        return rows
    study = registry.parse(store.study_document(job_id))
    specs = store.specs(job_id, unlabelled)

    def with_label(row: TrialRow) -> TrialRow:
        if row.ladder is not None:
            return row
        variant = study.kind.variant_of(study.question, specs[row.digest])
        return replace(row, ladder=row.optimizer, variant=variant)

    return tuple(map(with_label, rows))
