"""The one path from a document to a job.

The document is parsed into a study and admitted (`admission`), the study's corpora are opened,
hyperparameters are taken from the jobs that the study names, and the job is stored. Submissions and
clones over HTTP take this path, and so does `telescope run`; previews and `telescope coordinates`
stop once the corpora are open. Only admission differs: a document sent over HTTP may name only
paths and factories that the operator lists; a file on this machine may name any.

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
    # Settings with the permitted folders and factories; None for a file on this machine.
    server_settings: Settings | None = None
    may_name_new_paths: bool = True  # False if all paths were admitted with an earlier job
    idempotency_key: str | None = None
    keyed_request: Any = None  # what a repeated key must match; None for the document

    @property
    def request_hash(self) -> str:
        """Digest of the request, which a later request with the same key must match."""
        request = self.document if self.keyed_request is None else self.keyed_request
        text = json.dumps(request, sort_keys=True, default=repr)
        return hashlib.sha256(text.encode()).hexdigest()


def opened(submission: Submission) -> AnyStudy:
    """Parse and admit a document as a study, and open and tokenise the study's corpora.

    Raises InvalidInput if the document is invalid, or names a path or factory that is not allowed.
    """
    settings = submission.server_settings
    if settings:
        admission.require_factories(submission.document, settings.factories)
    study = registry.parse(submission.document)
    if settings and submission.may_name_new_paths:
        admission.require_open(registry.texts(study), settings.data_roots)
    return registry.resolved(study)


def accept(submission: Submission, store: Store) -> JobRow:
    """Create the job of a document, or return the job that an equal request with this key created.

    A repeated request therefore succeeds even if the corpus has disappeared. Raises InvalidInput as
    `opened` does, and IdempotencyMismatch if the key was used with another request.
    """
    key = submission.idempotency_key
    earlier = store.job_of_key(key, submission.request_hash) if key else None
    return earlier or create_job(opened(submission), submission, store)


def create_job(study: AnyStudy, submission: Submission, store: Store) -> JobRow:
    """Create the job of a study, with hyperparameters from the jobs that the study names."""
    document = registry.to_document(with_hyperparameters(study, store))
    key, body_hash = submission.idempotency_key, submission.request_hash
    job, _ = store.create_job(document, idempotency_key=key, body_hash=body_hash)
    return job
