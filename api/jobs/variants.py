"""Trials with their labels, those of old databases too.

A trial's row says where it stands in its study. Rows from before migration 0005 do not: of these the ladder is told by the optimizer, and
the variant by the specification, loaded for them alone. Their stage and level only the plan that made them knew; they stay null.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from api.store.rows import Page, TrialFilter, TrialRow
from api.store.store import Store
from telescope.studies import registry
from telescope.trials.outcome import TrialState

LARGE_PAGE = 1000


def every_trial(store: Store, job_id: str, state: TrialState | None = None) -> Iterator[TrialRow]:
    """A job's trials, however many pages they fill."""
    token: str | None = ""
    while token is not None:
        page = store.trials(job_id, LARGE_PAGE, token or None, only=TrialFilter(state=state))
        yield from named(store, job_id, page.items)
        token = page.next_page_token


def trials(store: Store, job_id: str, found: Page[TrialRow]) -> Page[TrialRow]:
    """A page of a job's trials, each with its variant."""
    return replace(found, items=named(store, job_id, found.items))


def named(store: Store, job_id: str, rows: Iterable[TrialRow]) -> tuple[TrialRow, ...]:
    """A job's trials, at most a page of them, each with its ladder and variant."""
    rows = tuple(rows)
    old = [row.digest for row in rows if row.ladder is None]
    if not old:
        return rows
    study, specs = registry.parse(store.study_document(job_id)), store.specs(job_id, old)
    return tuple(
        replace(row, ladder=row.optimizer, variant=study.kind.variant_of(study.question, specs[row.digest])) if row.ladder is None else row
        for row in rows
    )
