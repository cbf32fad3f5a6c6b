"""The one path from a document to a job: parse, admit, resolve, fill in, store.

Submissions, previews and clones over HTTP use it, and so do `telescope run`, `preview` and
`coordinates`. They differ in what they admit: documents sent over HTTP may name only the corpora
and factories that the operator lists, documents on this machine may name any.

Parts: `Submission` · `opened`, its study · `accept`, its job · `create_job`, the job of an open
study.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from api.jobs import admission
from api.jobs.from_jobs import with_hyperparameters
from api.settings import Settings
from api.store.rows import JobRow
from api.store.store import Store
from telescope.studies import registry
from telescope.studies.kind import AnyStudy


@dataclass(frozen=True)
class Submission:
    """A document, and how it arrived."""

    document: Any
    listed: Settings | None = None  # whose lists restrict it; None: it was typed on this machine
    new_data: bool = True  # False: its texts were admitted with an earlier job
    idempotency_key: str | None = None
    request: Any = None  # what the key identifies, where that is not the document itself

    @property
    def request_hash(self) -> str:
        """Digest that a repeated request with the same key must have."""
        request = self.document if self.request is None else self.request
        text = json.dumps(request, sort_keys=True, default=repr)
        return hashlib.sha256(text.encode()).hexdigest()


def opened(submission: Submission) -> AnyStudy:
    """Parse, admit and resolve a document; its corpus is opened and tokenised.

    Raises InvalidInput where the document is invalid, or names what it may not.
    """
    if submission.listed:
        admission.require_factories(submission.document, submission.listed.factories)
    study = registry.parse(submission.document)
    if submission.listed and submission.new_data:
        admission.require_open(registry.texts(study), submission.listed.data_roots)
    return registry.resolved(study)


def accept(submission: Submission, store: Store) -> JobRow:
    """Create the job of a document, or return the job that the same key and request made earlier.

    A repeated request succeeds even if the corpus has disappeared since.
    """
    key = submission.idempotency_key
    earlier = store.job_of_key(key, submission.request_hash) if key else None
    return earlier or create_job(opened(submission), submission, store)


def create_job(study: AnyStudy, submission: Submission, store: Store) -> JobRow:
    """Create the job of an open study, with hyperparameters from the jobs that it names."""
    document = registry.to_document(with_hyperparameters(study, store))
    return store.create_job(
        document, idempotency_key=submission.idempotency_key, body_hash=submission.request_hash
    )[0]
