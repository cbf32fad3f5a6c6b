"""The steps that turn a document into a job.

1. The document is parsed into a study. A document that was sent over HTTP may name only paths and
   factories that the operator permits (`api.jobs.admission`). A document from a file on this
   machine may name any path and any factory.
2. The corpora of the study are opened, tokenized and hashed. The tables of a grokking study are
   built and hashed.
3. If the study names other jobs, hyperparameters are taken from the results of these jobs.
4. The job is stored.

Jobs that are submitted or cloned over HTTP take all steps, and so do the jobs of `telescope run`.
Previews and `telescope coordinates` take the first two steps (`opened`).
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
    """A document, where it came from, and the request that it belongs to."""

    document: Any
    # Settings that list the permitted folders and factories; None for a file on this machine.
    server_settings: Settings | None = None
    # False if the document contains only paths that were accepted with an earlier job.
    may_name_new_paths: bool = True
    idempotency_key: str | None = None
    # What a later request with the same key must equal; None if that is `document`.
    keyed_request: Any = None

    @property
    def request_hash(self) -> str:
        """Hash of the request, by which a repeated request with the same key is recognised."""
        request = self.document if self.keyed_request is None else self.keyed_request
        text = json.dumps(request, sort_keys=True, default=repr)
        return hashlib.sha256(text.encode()).hexdigest()


def opened(submission: Submission) -> AnyStudy:
    """Parse a document into a study, check what it names, and read its corpora or tables.

    Raises InvalidInput if the document is invalid, if it names a path or factory that is not
    allowed, or if a corpus, table or model cannot be used.
    """
    settings = submission.server_settings
    if settings:
        admission.require_factories(submission.document, settings.factories)
    study = registry.parse(submission.document)
    if settings and submission.may_name_new_paths:
        admission.require_open(registry.texts(study), settings.data_roots)
    return registry.resolved(study)


def accept(submission: Submission, store: Store) -> JobRow:
    """Create the job of a document.

    If an earlier request with the same idempotency key created a job, return that job instead, even
    if the corpus has disappeared since. Raises IdempotencyMismatch if the earlier request was not
    the same. Raises InvalidInput if `opened` or `with_hyperparameters` does.
    """
    key = submission.idempotency_key
    earlier = store.job_of_key(key, submission.request_hash) if key else None
    return earlier or create_job(opened(submission), submission, store)


def create_job(study: AnyStudy, submission: Submission, store: Store) -> JobRow:
    """Store the job of a study, with hyperparameters from the jobs that the study names."""
    document = registry.to_document(with_hyperparameters(study, store))
    key, body_hash = submission.idempotency_key, submission.request_hash
    job, _ = store.create_job(document, idempotency_key=key, body_hash=body_hash)
    return job
