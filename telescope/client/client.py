"""How does a program talk to a telescope service?

Through `Client`, a synchronous HTTP client: one method per endpoint of `/v1`, pages followed by themselves, waiting by polling
with ETags. `Job`, `Trial`, `Curve` and `Corpus` are frozen values; reports, previews and answers stay the documents that their study wrote.

Errors come back as the members of `telescope.errors` that the server raised, problems and all; a server that is not there is
`Unavailable`. What is safe to repeat is repeated for `patience_seconds`: every GET, every verb, and, because each carries an
Idempotency-Key, every submission.

    with Client("http://127.0.0.1:8765") as client:
        job = client.submit({"kind": "telescope", ...})
        for job in client.watch(job.id): print(job.state, job.trials_done, job.trials_total)
        print(client.result(job.id)["verdict"])
"""

import ipaddress
import re
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter

from telescope.client.resources import Corpus, Curve, Job, Trial
from telescope.errors import Conflict, CorpusLost, InvalidInput, NotExportable, NotFound, Problem, TelescopeError, Unavailable

PAGE_SIZE = 1000
Typed = TypeVar("Typed")
RAISED = (InvalidInput, NotFound, Conflict, NotExportable, Unavailable, CorpusLost)
ERRORS: Mapping[str, type[TelescopeError]] = {each.code: each for each in RAISED}


    # Jobs

    def submit(self, document: object, *, idempotency_key: str | None = None) -> Job:
        """Hand a study in; with one key, submitting it again returns the first job."""
        key = idempotency_key or uuid.uuid4().hex
        return _typed(Job, self._json("POST", "/v1/jobs", json=document, headers={"Idempotency-Key": key}, timeout=self._unhurried()))

    def preview(self, document: object) -> dict[str, Any]:
        """What the study would run and cost; spends nothing."""
        return self._json("POST", "/v1/jobs:preview", json=document, timeout=self._unhurried())

    def judge(self, sweep: str | Sequence[Mapping[str, Any]], *, target_width: int | None = None) -> dict[str, Any]:
        """The verdict on a sweep that was run elsewhere: a CSV table, or rows in which a loss of None says that the run diverged."""
        parameters = _given({"target_width": target_width})
        if isinstance(sweep, str):
            csv = {"Content-Type": "text/csv"}
            return self._json("POST", "/v1/judgements", content=sweep.encode(), headers=csv, params=parameters, timeout=self._unhurried())
        return self._json("POST", "/v1/judgements", json={"rows": list(sweep)}, params=parameters, timeout=self._unhurried())

    def jobs(self, *, state: str | None = None) -> Iterator[Job]:
        """All jobs, the newest first."""
        return self._items(Job, "/v1/jobs", {"state": state})

    def job(self, job_id: str) -> Job:
        """One job with its study."""
        return _typed(Job, self._json("GET", _job_path(job_id)))

    def cancel(self, job_id: str) -> Job:
        """End a job for good; what was measured stays readable."""
        return _typed(Job, self._json("POST", f"{_job_path(job_id)}:cancel"))

    def pause(self, job_id: str) -> Job:
        """Stop its trials, keeping their checkpoints."""
        return _typed(Job, self._json("POST", f"{_job_path(job_id)}:pause"))

    def resume(self, job_id: str) -> Job:
        """Go on with a paused job."""
        return _typed(Job, self._json("POST", f"{_job_path(job_id)}:resume"))

    def retry(self, job_id: str) -> Job:
        """Go on with a job that failed or was cancelled; what it finished is kept."""
        return _typed(Job, self._json("POST", f"{_job_path(job_id)}:retry"))

    def clone(self, job_id: str, changes: Mapping[str, Any] | None = None, *, idempotency_key: str | None = None) -> Job:
        """A new job with the same study, changed by a JSON merge patch; finished trials that the two share are reused."""
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        path = f"{_job_path(job_id)}:clone"
        return _typed(Job, self._json("POST", path, json=changes or {}, headers=headers, timeout=self._unhurried()))

    def watch(self, job_id: str, *, poll_seconds: float = 0.5) -> Iterator[Job]:
        """The job now and after each change, ending with its terminal state."""
        tag = ""
        while True:
            response = self._send("GET", _job_path(job_id), headers={"If-None-Match": tag} if tag else {})
            if response.status_code != httpx.codes.NOT_MODIFIED:
                tag = response.headers.get("ETag", "")
                job = _typed(Job, response.json())
                yield job
                if job.terminal:
                    return
            time.sleep(poll_seconds)

    # What a job found

    def result(self, job_id: str) -> dict[str, Any]:
        """The study's report; `final` is false while the job runs."""
        return self._json("GET", f"{_job_path(job_id)}/result")

    def levels(self, job_id: str) -> list[dict[str, Any]]:
        """The levels decided so far."""
        return list(self._json("GET", f"{_job_path(job_id)}/levels")["items"])

    def trials(self, job_id: str, *, state: str | None = None, width: int | None = None, optimizer: str | None = None) -> Iterator[Trial]:
        """All trials of a job that fit the filters."""
        return self._items(Trial, f"{_job_path(job_id)}/trials", {"state": state, "width": width, "optimizer": optimizer})

    def curves(self, job_id: str, *, points: int = 100, width: int | None = None, optimizer: str | None = None) -> tuple[Curve, ...]:
        """The curves of a job's trials, thinned out to about `points` each."""
        parameters = _given({"points": points, "width": width, "optimizer": optimizer})
        answer = self._json("GET", f"{_job_path(job_id)}/curves", params=parameters)
        return tuple(_typed(Curve, each) for each in answer["items"])

    def trial(self, trial_id: int) -> Trial:
        """One trial with its specification."""
        return _typed(Trial, self._json("GET", f"/v1/trials/{trial_id}"))

    def curve(self, trial_id: int, *, points: int | None = None) -> Curve:
        """A trial's curve, all of it or thinned out."""
        return _typed(Curve, self._json("GET", f"/v1/trials/{trial_id}/curve", params=_given({"points": points})))

    def export(self, job_id: str, to: str, *, optimizer: str | None = None, variant: str | None = None) -> str:
        """The hyperparameters at the target for another trainer: `torch` (Python), `megatron` (flags) or `json`."""
        parameters = _given({"to": to, "optimizer": optimizer, "variant": variant})
        return self._send("GET", f"{_job_path(job_id)}/export", params=parameters).text

    # What a compute-time job answers to a target loss

    def frontier(self, job_id: str, target_loss: float, *, optimizer: str | None = None) -> dict[str, Any]:
        """Hours against devices: `rows`, `dominance`, and what step times assume."""
        return self._answer(job_id, "frontier", target_loss, optimizer)

    def batch_sizes(self, job_id: str, target_loss: float, *, optimizer: str | None = None) -> dict[str, Any]:
        """Tokens and steps against batch size: `rows`, and the critical batches of the `optimizers`."""
        return self._answer(job_id, "batch-sizes", target_loss, optimizer)

    def token_ratio(self, job_id: str, target_loss: float) -> dict[str, Any]:
        """AdamW's tokens over Muon's against batch size: `rows`, and their trend."""
        return self._answer(job_id, "token-ratio", target_loss, None)

    def csv(self, job_id: str, table: str, target_loss: float, *, optimizer: str | None = None) -> str:
        """The rows of frontier, batch-sizes or token-ratio as CSV."""
        parameters = _given({"target_loss": target_loss, "optimizer": optimizer})
        return self._send("GET", f"{_job_path(job_id)}/{table}", params=parameters, headers={"Accept": "text/csv"}).text

    # The service

    def corpora(self) -> tuple[Corpus, ...]:
        """The texts that jobs can name."""
        return tuple(_typed(Corpus, each) for each in self._json("GET", "/v1/corpora")["items"])

    def register_corpus(self, name: str, path: str) -> Corpus:
        """Give a path on the server a name; it must lie under the server's TELESCOPE_DATA_ROOTS."""
        return _typed(Corpus, self._json("POST", "/v1/corpora", json={"name": name, "path": path}))

    def ready(self) -> dict[str, str]:
        """Each part's own word; Unavailable, without waiting for it, while one is missing."""
        return dict(self._json("GET", "/readyz", patience_seconds=0.0)["parts"])

    # How

    def _items(self, kind: type[Typed], path: str, filters: Mapping[str, str | int | None]) -> Iterator[Typed]:
        parameters = _given(filters) | {"page_size": PAGE_SIZE}
        while True:
            page = self._json("GET", path, params=parameters)
            yield from (_typed(kind, each) for each in page["items"])
            if not (token := page["next_page_token"]):
                return
            parameters["page_token"] = token

    def _answer(self, job_id: str, table: str, target_loss: float, optimizer: str | None) -> dict[str, Any]:
        """An answer with the rows of all its pages."""
        rows: list[Any] = []
        parameters = _given({"target_loss": target_loss, "optimizer": optimizer}) | {"page_size": PAGE_SIZE}
        while True:
            page = self._json("GET", f"{_job_path(job_id)}/{table}", params=parameters)
            rows += page.pop("items")
            if not (token := page.pop("next_page_token")):
                return page | {"rows": rows}
            parameters["page_token"] = token

def _job_path(job_id: str) -> str:
    """Where the job is, whatever the characters of a mistyped id."""
    return f"/v1/jobs/{quote(job_id, safe='') or '-'}"


