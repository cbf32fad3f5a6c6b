"""The one path from a document to a job: parse, admit, resolve, fill in, store.

Submissions, previews and clones over HTTP take this path, and so do `telescope run`, `preview` and
`coordinates`. They differ in what they admit: a document sent over HTTP may name only corpora and
factories that the operator lists; a document on this machine may name any.

Parts: `Submission`, a document and its origin · `opened`, from a submission to a study · `accept`,
from a submission to a job · `create_job`, from a study to a job.
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
    """A document and its origin, which determines what the document may name."""

    document: Any
    # Settings with the lists of permitted corpora and factories; None for a file on this machine.
    listed: Settings | None = None
    new_data: bool = True  # False if its texts were admitted with an earlier job
    idempotency_key: str | None = None
    request: Any = None  # the body that the key belongs to, if that is not the document

    @property
    def request_hash(self) -> str:
        """Digest of the request; a repeated request with the same key must have the same."""
        request = self.document if self.request is None else self.request
        text = json.dumps(request, sort_keys=True, default=repr)
        return hashlib.sha256(text.encode()).hexdigest()


def opened(submission: Submission) -> AnyStudy:
    """Parse, admit and resolve a document into a study; its corpus is opened and tokenised.

    Raises InvalidInput if the document is invalid, or names a corpus or factory that it may not.
    """
    if submission.listed:
        admission.require_factories(submission.document, submission.listed.factories)
    study = registry.parse(submission.document)
    if submission.listed and submission.new_data:
        admission.require_open(registry.texts(study), submission.listed.data_roots)
    return registry.resolved(study)


def accept(submission: Submission, store: Store) -> JobRow:
    """Create the job of a document, or return the job that an equal request with its key created.

    A repeated request succeeds even if the corpus has disappeared since.
    """
    key = submission.idempotency_key
    earlier = store.job_of_key(key, submission.request_hash) if key else None
    return earlier or create_job(opened(submission), submission, store)


def create_job(study: AnyStudy, submission: Submission, store: Store) -> JobRow:
    """Create the job of an open study, with hyperparameters from the jobs that it names."""
    document = registry.to_document(with_hyperparameters(study, store))
    key, body_hash = submission.idempotency_key, submission.request_hash
    job, _ = store.create_job(document, idempotency_key=key, body_hash=body_hash)
    return job
