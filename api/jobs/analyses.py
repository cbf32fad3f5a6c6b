"""A cache of the analyses of compute-time jobs.

A compute-time job trains models with several optimizers and batch sizes. Its report has tables of
the cost of reaching a target loss. Users can request the same tables for any other target loss,
too. All tables of a job are computed from one analysis of its trials. Analysing a job of 10,000
trials takes about a second; computing a table from the analysis takes milliseconds.

`Analyses` keeps the analyses of the most recently used jobs. Each analysis belongs to one version
of its job. The version is a number that rises with every change of the job. Once the version of a
running job has risen, the next request for a table analyses the job again. HTTP requests use the
cache from many threads. While one thread analyses a job, only threads that need the same analysis
wait.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from api.store.rows import JobRow
from api.store.store import Store
from telescope.studies import registry
from telescope.studies.compute_time.analysis import Analysis

MOST_CACHED = 4  # the analysis of a job of 10,000 trials takes about 30 MB


def analysed(job_id: str, store: Store) -> Analysis:
    """Analyse the trials of a job that have ended so far."""
    study = registry.parse(store.study_document(job_id))
    assert study.kind.analyse is not None, "this kind of job has no analysis"
    trials = store.terminal_trials(job_id, outlines=True)
    analysis: Analysis = study.kind.analyse(study.question, trials)
    return analysis


def analysed_kinds() -> tuple[str, ...]:
    """Return the names of the kinds of study that have analyses."""
    return tuple(kind.name for kind in registry.KINDS.values() if kind.analyse)


@dataclass
class AnalysisSlot:
    """A place in the cache for the analysis of one version of a job.

    The analysis may include trials that ended after this version.
    """

    version: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    analysis: Analysis | None = None  # None until the analysis has been made


class Analyses:
    """The analyses of the `capacity` most recently used jobs; thread-safe."""

    def __init__(self, capacity: int = MOST_CACHED) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._slots: dict[str, AnalysisSlot] = {}  # by job id, least recently used first

    def of(self, job: JobRow, make: Callable[[], Analysis]) -> Analysis:
        """Return the analysis of a job at the version `job.version` or at a newer version.

        If the cache holds no such analysis, call `make` to make one.
        """
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
