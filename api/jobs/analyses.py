"""Which analyses are kept, so that the next target loss costs one query?

Reading a finished job of ten thousand runs takes a second, answering from what was read milliseconds. `Analyses` keeps the last few jobs'
analyses, each at its newest version; of a job that runs, the version rises, and the analysis is made anew. Handlers ask from many threads:
one makes an analysis while those who ask for the same wait for it, and nobody else does.

Parts: `analysed_kinds` · `analysed`, from the database · `Analyses`.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from api.store.rows import JobRow
from api.store.store import Store
from telescope.studies import registry
from telescope.studies.compute_time.analysis import Analysis

MOST = 4  # jobs; one of 10,000 runs holds some 30 MB


def analysed(job_id: str, store: Store) -> Analysis:
    """What the runs of a job amount to so far."""
    study = registry.parse(store.study_document(job_id))
    assert study.kind.analyse is not None, "only jobs of such kinds are analysed"
    found: Analysis = study.kind.analyse(study.question, store.terminal_trials(job_id, outlines=True))
    return found


def analysed_kinds() -> tuple[str, ...]:
    """The kinds of jobs that have analyses."""
    return tuple(kind.name for kind in registry.KINDS.values() if kind.analyse)


@dataclass
class Place:
    """Where the analysis of one version of a job is, once somebody has made it; the version may be older than what it has read."""

    version: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    analysis: Analysis | None = None


class Analyses:
    """Those asked for last; for many threads."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._places: dict[str, Place] = {}  # by job, the one asked for last at the end

    def of(self, job: JobRow, make: Callable[[], Analysis]) -> Analysis:
        """That of a job at its version, made if need be."""
        place = self._place(job)
        with place.lock:
            if place.analysis is None:
                place.analysis = make()
            return place.analysis

    def _place(self, job: JobRow) -> Place:
        with self._lock:
            place = self._places.pop(job.id, None)
            if place is None or place.version < job.version:
                place = Place(job.version)
            self._places[job.id] = place
            while len(self._places) > self._most:
                del self._places[next(iter(self._places))]
            return place
