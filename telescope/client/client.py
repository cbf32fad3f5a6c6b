"""How does a program talk to a telescope service?

Through `Client`, a synchronous HTTP client: one method per endpoint of `/v1`, pages followed by themselves, waiting by polling
with ETags. Everything that it returns is a frozen value: the resources of `telescope.client.resources`, and the reports,
previews and answers of `telescope.studies`, whose type is that of the job's kind; `document` is a report as it was sent. What a
newer service says beyond these types is left out.

Errors come back as the members of `telescope.errors` that the server raised, problems and all; a server that is not there is
`Unavailable`. What is safe to repeat is repeated for `patience_seconds`: every GET, every verb, and, because each carries an
Idempotency-Key, every submission.

    with Client("http://127.0.0.1:8765") as client:
        job = client.submit({"kind": "telescope", ...})
        for job in client.watch(job.id): print(job.state, job.trials_done, job.trials_total)
        print(client.result(job.id).verdict)
"""

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter, ValidationError

from telescope.client.connection import Connection, given
from telescope.client.resources import Corpus, Curve, Job, JobDetail, Trial, TrialDetail
from telescope.errors import TelescopeError

if TYPE_CHECKING:  # the types of studies import torch, which listing jobs need not wait for: so do the imports in functions below
    from telescope.studies.compute_time.rows import BatchAnswer, FrontierAnswer, RatioAnswer
    from telescope.studies.kind import Kind, Report
    from telescope.studies.telescoping.judge.judge import Judgement

PAGE_SIZE = 1000
UPDATE = "install the version of telescope that the service runs"
Typed = TypeVar("Typed")


class Client(Connection):
    """A connection to one service; a context manager. Not for several threads at once."""

    # Jobs

    def submit(self, document: object, *, idempotency_key: str | None = None) -> JobDetail:
        """Submit a study; with one key, submitting it again returns the first job."""
        key = idempotency_key or uuid.uuid4().hex
        headers = {"Idempotency-Key": key}
        return _typed(JobDetail, self.json("POST", "/v1/jobs", json=document, headers=headers, timeout=self.unhurried()))

    def preview(self, document: object) -> Any:
        """What the study would run and cost, of the type that its kind has for it; spends nothing."""
        found = self.json("POST", "/v1/jobs:preview", json=document, timeout=self.unhurried())
        name = found.get("kind") or (document.get("kind") if isinstance(document, Mapping) else None)  # older services do not say it
        return _typed(_kind_of(name).preview, found)

    def judge(self, sweep: str | Sequence[Mapping[str, Any]], *, target_width: int | None = None) -> "Judgement":
        """The verdict on a sweep that was run elsewhere: a CSV table, or rows in which a loss of None says that the run diverged."""
        from telescope.studies.telescoping.judge.judge import Judgement  # late, for a quick start

        sent: dict[str, Any] = {"params": given({"target_width": target_width}), "timeout": self.unhurried()}
        if isinstance(sweep, str):
            sent |= {"content": sweep.encode(), "headers": {"Content-Type": "text/csv"}}
        else:
            sent |= {"json": {"rows": list(sweep)}}
        return _typed(Judgement, self.json("POST", "/v1/judgements", **sent))

    def jobs(self, *, state: str | None = None) -> Iterator[Job]:
        """All jobs, the newest first."""
        return self._items(Job, "/v1/jobs", {"state": state})

    def job(self, job_id: str) -> JobDetail:
        """One job with its study."""
        return _typed(JobDetail, self.json("GET", _job_path(job_id)))

    def cancel(self, job_id: str) -> Job:
        """End a job for good; what was measured stays readable."""
        return _typed(Job, self.json("POST", f"{_job_path(job_id)}:cancel"))

    def pause(self, job_id: str) -> Job:
        """Stop its trials, keeping their checkpoints."""
        return _typed(Job, self.json("POST", f"{_job_path(job_id)}:pause"))

    def resume(self, job_id: str) -> Job:
        """Go on with a paused job."""
        return _typed(Job, self.json("POST", f"{_job_path(job_id)}:resume"))

    def retry(self, job_id: str) -> Job:
        """Go on with a job that failed or was cancelled; what it finished is kept."""
        return _typed(Job, self.json("POST", f"{_job_path(job_id)}:retry"))

    def clone(self, job_id: str, changes: Mapping[str, Any] | None = None, *, idempotency_key: str | None = None) -> JobDetail:
        """A new job with the same study, changed by a JSON merge patch; finished trials that the two share are reused."""
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        path = f"{_job_path(job_id)}:clone"
        return _typed(JobDetail, self.json("POST", path, json=changes or {}, headers=headers, timeout=self.unhurried()))

    def watch(self, job_id: str, *, poll_seconds: float = 0.5) -> Iterator[JobDetail]:
        """The job now and after each change, ending with its terminal state."""
        tag = ""
        while True:
            response = self.send("GET", _job_path(job_id), headers={"If-None-Match": tag} if tag else {})
            if response.status_code != httpx.codes.NOT_MODIFIED:
                tag = response.headers.get("ETag", "")
                job = _typed(JobDetail, response.json())
                yield job
                if job.terminal:
                    return
            time.sleep(poll_seconds)

    # What a job found

    def result(self, job_id: str) -> "Report":
        """The report, of the type that the job's kind of study has; `final` is false while the job runs."""
        found = self.document(job_id)
        name = found.get("kind") or self.job(job_id).kind  # older services do not say it
        report: Report = _typed(_kind_of(name).report, found)
        return report

    def document(self, job_id: str) -> dict[str, Any]:
        """The report as the service sent it."""
        return self.json("GET", f"{_job_path(job_id)}/result")

    def levels(self, job_id: str) -> list[dict[str, Any]]:
        """The levels decided so far."""
        return list(self.json("GET", f"{_job_path(job_id)}/levels")["items"])

    def trials(self, job_id: str, *, state: str | None = None, width: int | None = None, optimizer: str | None = None) -> Iterator[Trial]:
        """All trials of a job that fit the filters."""
        return self._items(Trial, f"{_job_path(job_id)}/trials", {"state": state, "width": width, "optimizer": optimizer})

    def curves(self, job_id: str, *, points: int = 100, width: int | None = None, optimizer: str | None = None) -> tuple[Curve, ...]:
        """The curves of a job's trials, thinned out to about `points` each."""
        parameters = given({"points": points, "width": width, "optimizer": optimizer})
        answer = self.json("GET", f"{_job_path(job_id)}/curves", params=parameters)
        return tuple(_typed(Curve, each) for each in answer["items"])

    def trial(self, trial_id: int) -> TrialDetail:
        """One trial with its specification."""
        return _typed(TrialDetail, self.json("GET", f"/v1/trials/{trial_id}"))

    def curve(self, trial_id: int, *, points: int | None = None) -> Curve:
        """A trial's curve, all of it or thinned out."""
        return _typed(Curve, self.json("GET", f"/v1/trials/{trial_id}/curve", params=given({"points": points})))

    def export(self, job_id: str, to: str, *, optimizer: str | None = None, variant: str | None = None) -> str:
        """The hyperparameters at the target for another trainer: `torch` (Python), `megatron` (flags) or `json`."""
        parameters = given({"to": to, "optimizer": optimizer, "variant": variant})
        return self.send("GET", f"{_job_path(job_id)}/export", params=parameters).text

    # What a compute-time job answers to a target loss

    def frontier(self, job_id: str, target_loss: float, *, optimizer: str | None = None) -> "FrontierAnswer":
        """Hours against devices: `rows`, `dominance`, and what step times assume."""
        from telescope.studies.compute_time.rows import FrontierAnswer  # late, for a quick start

        return _typed(FrontierAnswer, self._answer(job_id, "frontier", target_loss, optimizer))

    def batch_sizes(self, job_id: str, target_loss: float, *, optimizer: str | None = None) -> "BatchAnswer":
        """Tokens and steps against batch size: `rows`, and the critical batches of the `optimizers`."""
        from telescope.studies.compute_time.rows import BatchAnswer  # late, for a quick start

        return _typed(BatchAnswer, self._answer(job_id, "batch-sizes", target_loss, optimizer))

    def token_ratio(self, job_id: str, target_loss: float) -> "RatioAnswer":
        """AdamW's tokens over Muon's against batch size: `rows`, and their trend."""
        from telescope.studies.compute_time.rows import RatioAnswer  # late, for a quick start

        return _typed(RatioAnswer, self._answer(job_id, "token-ratio", target_loss, None))

    def csv(self, job_id: str, table: str, target_loss: float, *, optimizer: str | None = None) -> str:
        """The rows of frontier, batch-sizes or token-ratio as CSV."""
        parameters = given({"target_loss": target_loss, "optimizer": optimizer})
        return self.send("GET", f"{_job_path(job_id)}/{table}", params=parameters, headers={"Accept": "text/csv"}).text

    # The service

    def corpora(self) -> tuple[Corpus, ...]:
        """The texts that jobs can name."""
        return tuple(_typed(Corpus, each) for each in self.json("GET", "/v1/corpora")["items"])

    def register_corpus(self, name: str, path: str) -> Corpus:
        """Give a path on the server a name; it must lie under the server's TELESCOPE_DATA_ROOTS."""
        return _typed(Corpus, self.json("POST", "/v1/corpora", json={"name": name, "path": path}))

    def ready(self) -> dict[str, str]:
        """Each part's own word; Unavailable, without waiting for it, while one is missing."""
        return dict(self.json("GET", "/readyz", patience_seconds=0.0)["parts"])

    # How

    def _items(self, kind: type[Typed], path: str, filters: Mapping[str, str | int | None]) -> Iterator[Typed]:
        parameters = given(filters) | {"page_size": PAGE_SIZE}
        while True:
            page = self.json("GET", path, params=parameters)
            yield from (_typed(kind, each) for each in page["items"])
            if not (token := page["next_page_token"]):
                return
            parameters["page_token"] = token

    def _answer(self, job_id: str, table: str, target_loss: float, optimizer: str | None) -> dict[str, Any]:
        """An answer with the rows of all its pages."""
        rows: list[Any] = []
        parameters = given({"target_loss": target_loss, "optimizer": optimizer}) | {"page_size": PAGE_SIZE}
        while True:
            page = self.json("GET", f"{_job_path(job_id)}/{table}", params=parameters)
            rows += page.pop("items")
            if not (token := page.pop("next_page_token")):
                return page | {"rows": rows}
            parameters["page_token"] = token


def _job_path(job_id: str) -> str:
    """Where the job is, whatever the characters of a mistyped id."""
    return f"/v1/jobs/{quote(job_id, safe='') or '-'}"


def _typed(kind: type[Typed], document: Any) -> Typed:
    """The frozen value that a document spells; fields that its type does not have are left out."""
    try:
        return TypeAdapter(kind).validate_python(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise TelescopeError(f"this client cannot read the service's answer ({where}: {first['msg']}); {UPDATE}") from error


def _kind_of(name: Any) -> "Kind[Any, Any, Any]":
    """The kind of study of that name."""
    from telescope.studies import registry  # late, for a quick start

    if name not in registry.KINDS:
        raise TelescopeError(f"this client knows no study of kind {name}; {UPDATE}")
    return registry.KINDS[name]
