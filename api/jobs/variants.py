"""Trials with their labels, including trials of old databases.

A label is the place of a trial in its study: the ladder (all trials of one optimizer), the variant
(one of the models or texts that a job compares), the stage (the trials that are planned together),
and the level (the number of the width in the ladder). The row of a trial holds its label. Rows that
were written before migration 0005 have no label. For these rows only, the ladder and the variant
are derived: the ladder is named after the optimizer, and the variant follows from the specification
of the trial. Their stage and level stay null.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from api.store.rows import Page, TrialFilter, TrialRow
from api.store.store import Store
from telescope.studies import registry
from telescope.trials.outcome import TrialState

LARGE_PAGE = 1000  # number of trials per query


def every_trial(store: Store, job_id: str, state: TrialState | None = None) -> Iterator[TrialRow]:
    """Yield the trials of a job that are in `state`, each with its ladder and variant.

    Without `state`, yield all trials. The trials are read page by page.
    """
    token: str | None = ""
    while token is not None:
        page = store.trials(job_id, LARGE_PAGE, token or None, only=TrialFilter(state=state))
        yield from with_variants(store, job_id, page.items)
        token = page.next_page_token


def trials_page(store: Store, job_id: str, page: Page[TrialRow]) -> Page[TrialRow]:
    """Return a page of a job's trials, each with its ladder and variant."""
    return replace(page, items=with_variants(store, job_id, page.items))


def with_variants(store: Store, job_id: str, rows: Iterable[TrialRow]) -> tuple[TrialRow, ...]:
    """Return the trials `rows`, which all belong to one job, with their ladders and variants."""
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
