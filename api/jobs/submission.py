"""From a document to a job: parse, admit, resolve, store."""

import hashlib
import json
from typing import Any

from api.jobs import admission
from api.jobs.from_jobs import filled
from api.settings import Settings
from api.store.rows import JobRow
from api.store.store import Store
from telescope.studies import registry
from telescope.studies.kind import AnyStudy


def opened(document: Any, settings: Settings, new_data: bool = True) -> AnyStudy:
    """The study of a document, its corpus opened and tokenised; new data must lie, and models be made, where the operator allows."""
    admission.require_factories(document, settings.factories)
    study = registry.parse(document)
    if new_data:
        admission.require_open(registry.texts(study), settings.data_roots)
    return registry.resolved(study)


def accept(document: Any, asked: Any, idempotency_key: str | None, store: Store, settings: Settings, new_data: bool = True) -> JobRow:
    """The new job of a document, or the one that the same request made before by its key, which holds even if the corpus has gone since."""
    body_hash = hashlib.sha256(json.dumps(asked, sort_keys=True, default=repr).encode()).hexdigest()
    row = store.job_of_key(idempotency_key, body_hash) if idempotency_key else None
    if row is None:
        study = filled(opened(document, settings, new_data), store)
        row, _ = store.create_job(registry.to_document(study), idempotency_key=idempotency_key, body_hash=body_hash)
    return row
