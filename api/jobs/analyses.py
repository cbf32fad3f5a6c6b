"""A cache of analyses, so that a table for another target loss costs one query.

Analysing a finished compute-time job of 10,000 runs takes a second; computing a table from the
analysis takes milliseconds. `Analyses` keeps the analyses of the most recently used jobs, each for
the job's newest version. Once the version of a running job has risen, the next request for its
tables analyses the job again. Handlers use the cache from many threads: while one thread analyses a
job, only threads that need the same analysis wait.

Parts: `analysed`, an analysis from the database · `analysed_kinds`, the kinds of study whose jobs
have analyses · `Analyses`, the cache.
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
    assert study.kind.analyse is not None, "this kind of job has no analysis"
    trials = store.terminal_trials(job_id, outlines=True)
    analysis: Analysis = study.kind.analyse(study.question, trials)
    return analysis


def analysed_kinds() -> tuple[str, ...]:
    """The names of the kinds of study whose jobs have analyses."""
    return tuple(kind.name for kind in registry.KINDS.values() if kind.analyse)


@dataclass
class AnalysisSlot:
    """A place in the cache for the analysis of one version of a job.

    The analysis may include data newer than `version`.
    """

    version: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    analysis: Analysis | None = None  # None until made


class Analyses:
    """The most recently used analyses, at most `capacity`; thread-safe."""

    def __init__(self, capacity: int = MOST_CACHED) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._slots: dict[str, AnalysisSlot] = {}  # by job id, least recently used first

    def of(self, job: JobRow, make: Callable[[], Analysis]) -> Analysis:
        """Return the analysis of this or a newer version of a job; call `make` if it is missing."""
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
            while len(self._slots) > self._capacity:
                del self._slots[next(iter(self._slots))]
            return slot
