"""The one path from a document to a job: parse, admit, resolve, fill in, store.

HTTP submits, previews and clones go by it, and so do `telescope run`, `preview` and `coordinates`. They differ in what they admit: what
comes over HTTP may name the corpora and factories that the operator lists, what is typed on this machine any of its own.

Parts: `Submission` · `opened`, its study · `accept`, its job · `enter`, the job of a study that is open.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from api.jobs import admission
from api.jobs.from_jobs import filled
from api.settings import Settings
from api.store.rows import JobRow
from api.store.store import Store
from telescope.studies import registry
from telescope.studies.kind import AnyStudy


@dataclass(frozen=True)
class Submission:
    """A document, and how it came."""

    document: Any
    listed: Settings | None = None  # whose lists it must keep to; None: it was typed on this machine
    new_data: bool = True  # else its texts were admitted with an earlier job
    idempotency_key: str | None = None
    request: Any = None  # what the key stands for, where that is not the document itself

    @property
    def request_hash(self) -> str:
        """What a repeated request must repeat."""
        asked = self.document if self.request is None else self.request
        return hashlib.sha256(json.dumps(asked, sort_keys=True, default=repr).encode()).hexdigest()


def opened(submission: Submission) -> AnyStudy:
    """The study of a document, its corpus opened and tokenised; InvalidInput where it may not be."""
    if submission.listed:
        admission.require_factories(submission.document, submission.listed.factories)
    study = registry.parse(submission.document)
    if submission.listed and submission.new_data:
        admission.require_open(registry.texts(study), submission.listed.data_roots)
    return registry.resolved(study)


def accept(submission: Submission, store: Store) -> JobRow:
    """The new job of a document, or the one that the same request made before by its key, which holds even if the corpus has gone since."""
    key = submission.idempotency_key
    known = store.job_of_key(key, submission.request_hash) if key else None
    return known or enter(opened(submission), submission, store)


def enter(study: AnyStudy, submission: Submission, store: Store) -> JobRow:
    """The job of an open study, with the hyperparameters of the jobs that it names."""
    document = registry.to_document(filled(study, store))
    return store.create_job(document, idempotency_key=submission.idempotency_key, body_hash=submission.request_hash)[0]
