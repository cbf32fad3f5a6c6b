"""A cache of analyses, so that the next target loss costs one query.

To read a finished job of ten thousand runs takes a second; to compute a table from its analysis
takes milliseconds. `Analyses` keeps the analyses of the most recently used jobs, each at its newest
version. When the version of a running job rises, its analysis is made again. Handlers use the cache
from many threads: while one thread makes an analysis, others that need the same analysis wait, and
those that need another one do not.

Parts: `analysed_kinds` · `analysed`, an analysis from the database · `Analyses`, the cache.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from api.store.rows import JobRow
from api.store.store import Store
from telescope.studies import registry
from telescope.studies.compute_time.analysis import Analysis

MOST_CACHED = 4  # the analysis of a job of 10,000 runs takes about 30 MB


def analysed(job_id: str, store: Store) -> Analysis:
    """Analyse the runs that a job has finished so far."""
    study = registry.parse(store.study_document(job_id))
    assert study.kind.analyse is not None, "only jobs of such kinds are analysed"
    trials = store.terminal_trials(job_id, outlines=True)
    analysis: Analysis = study.kind.analyse(study.question, trials)
    return analysis


def analysed_kinds() -> tuple[str, ...]:
    """The kinds of jobs that have analyses."""
    return tuple(kind.name for kind in registry.KINDS.values() if kind.analyse)


@dataclass
class AnalysisSlot:
    """A place in the cache for the analysis of one version of a job; None until it is made.

    The analysis may have read data newer than its version.
    """

    version: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    analysis: Analysis | None = None


class Analyses:
    """The most recently used analyses; usable from many threads."""

    def __init__(self, most: int = MOST_CACHED) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._slots: dict[str, AnalysisSlot] = {}  # by job id, least recently used first

    def of(self, job: JobRow, make: Callable[[], Analysis]) -> Analysis:
        """Return the analysis of a job at its version; call `make` if it is not cached."""
        slot = self._slot(job)
        with slot.lock:
            if slot.analysis is None:
                slot.analysis = make()
            return slot.analysis

    def _slot(self, job: JobRow) -> AnalysisSlot:
        with self._lock:
            slot = self._slots.pop(job.id, None)
            if slot is None or slot.version < job.version:
                slot = AnalysisSlot(job.version)
            self._slots[job.id] = slot
            while len(self._slots) > self._most:
                del self._slots[next(iter(self._slots))]
            return slot
