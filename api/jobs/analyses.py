"""A cache of analyses, so that the next target loss costs one query.

Reading a finished job of ten thousand runs takes a second, answering from the analysis takes
milliseconds. `Analyses` keeps the analyses of the last few jobs, each at its newest version; a
running job's version rises, and then its analysis is made again. Handlers call it from many
threads: one thread makes an analysis while the others that need the same analysis wait; threads
that need another analysis do not wait.

Parts: `analysed_kinds` · `analysed`, from the database · `Analyses`.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from api.store.rows import JobRow
from api.store.store import Store
from telescope.studies import registry
from telescope.studies.compute_time.analysis import Analysis

MOST = 4  # analyses; that of a job of 10,000 runs takes about 30 MB


def analysed(job_id: str, store: Store) -> Analysis:
    """Analyse the runs of a job so far."""
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
    """The analysis of one version of a job, once a thread has made it.

    The analysis may have read newer data than its version.
    """

    version: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    analysis: Analysis | None = None


class Analyses:
    """The most recently used analyses; usable from many threads."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._places: dict[str, AnalysisSlot] = {}  # by job id, least recently used first

    def of(self, job: JobRow, make: Callable[[], Analysis]) -> Analysis:
        """Return the analysis of a job at its version; call `make` if it is not cached."""
        place = self._place(job)
        with place.lock:
            if place.analysis is None:
                place.analysis = make()
            return place.analysis

    def _place(self, job: JobRow) -> AnalysisSlot:
        with self._lock:
            place = self._places.pop(job.id, None)
            if place is None or place.version < job.version:
                place = AnalysisSlot(job.version)
            self._places[job.id] = place
            while len(self._places) > self._most:
                del self._places[next(iter(self._places))]
            return place
