"""A synchronous Python client of a telescope service.

`Client` has one method per endpoint of `/v1`; it follows pages, and waits by polling with ETags.
Everything that it returns is a frozen value: the resources of `telescope.client.resources`, and the
reports, previews and answers of `telescope.studies`, whose type depends on the job's kind;
`document` is a report as it was sent. Fields that only a newer service sends are left out.

Errors are raised as the classes of `telescope.errors` that the server raised, with their problems;
a server that cannot be reached raises `Unavailable`. Requests that are safe to repeat are repeated
for `patience_seconds`: every GET, every verb, and, because each carries an Idempotency-Key, every
submission.

    with Client("http://127.0.0.1:8765") as client:
        job = client.submit({"kind": "telescope", ...})
        for job in client.watch(job.id): print(job.state, job.trials_done, job.trials_total)
        print(client.result(job.id).verdict)
"""

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from telescope.client.connection import given
from telescope.client.resources import Corpus, Curve, Job, JobDetail, TrialDetail, TrialSummary
from telescope.client.tables import UPDATE, Tables, as_type, job_path
from telescope.errors import TelescopeError
from telescope.extras import extra

with extra("service"):
    import httpx

# the types of studies import torch, which listing jobs need not wait for; hence the imports in
# functions below
if TYPE_CHECKING:
    from telescope.studies.kind import Kind, Report
    from telescope.studies.telescoping.judge.judge import Judgement


class Client(Tables):
    """A connection to one service; a context manager. Not safe to share between threads."""

    # Jobs

    def submit(self, document: object, *, idempotency_key: str | None = None) -> JobDetail:
        """Submit a study. A second submission with the same key returns the first job."""
        key = idempotency_key or uuid.uuid4().hex
        headers = {"Idempotency-Key": key}
        return as_type(
            JobDetail,
            self.json("POST", "/v1/jobs", json=document, headers=headers, timeout=self.unhurried()),
        )

    def preview(self, document: object) -> Any:
        """Trials and cost of a study, in the preview type of its kind; nothing is run."""
        body = self.json("POST", "/v1/jobs:preview", json=document, timeout=self.unhurried())
        # older services do not send it
        name = body.get("kind") or (document.get("kind") if isinstance(document, Mapping) else None)
        return as_type(_kind_of(name).preview, body)

    def judge(
        self, sweep: str | Sequence[Mapping[str, Any]], *, target_width: int | None = None
    ) -> "Judgement":
        """The verdict on a sweep that was run elsewhere: a CSV table, or rows in which a loss of
        None means that the run diverged."""
        # imported late, for a fast start
        from telescope.studies.telescoping.judge.judge import Judgement

        sent: dict[str, Any] = {
            "params": given({"target_width": target_width}),
            "timeout": self.unhurried(),
        }
        if isinstance(sweep, str):
            sent |= {"content": sweep.encode(), "headers": {"Content-Type": "text/csv"}}
        else:
            sent |= {"json": {"rows": list(sweep)}}
        return as_type(Judgement, self.json("POST", "/v1/judgements", **sent))

    def jobs(self, *, state: str | None = None) -> Iterator[Job]:
        """All jobs, the newest first."""
        return self.items(Job, "/v1/jobs", {"state": state})

    def job(self, job_id: str) -> JobDetail:
        """A job with its study."""
        return as_type(JobDetail, self.json("GET", job_path(job_id)))

    def cancel(self, job_id: str) -> Job:
        """End a job for good; its measurements stay readable."""
        return as_type(Job, self.json("POST", f"{job_path(job_id)}:cancel"))

    def pause(self, job_id: str) -> Job:
        """Stop a job's trials, keeping their checkpoints."""
        return as_type(Job, self.json("POST", f"{job_path(job_id)}:pause"))

    def resume(self, job_id: str) -> Job:
        """Resume a paused job."""
        return as_type(Job, self.json("POST", f"{job_path(job_id)}:resume"))

    def retry(self, job_id: str) -> Job:
        """Resume a job that failed or was cancelled; what it finished is kept."""
        return as_type(Job, self.json("POST", f"{job_path(job_id)}:retry"))

    def clone(
        self,
        job_id: str,
        changes: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> JobDetail:
        """Submit a new job with the same study, changed by a JSON merge patch; finished trials that
        both jobs share are reused."""
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        path = f"{job_path(job_id)}:clone"
        return as_type(
            JobDetail,
            self.json("POST", path, json=changes or {}, headers=headers, timeout=self.unhurried()),
        )

    def watch(self, job_id: str, *, poll_seconds: float = 0.5) -> Iterator[JobDetail]:
        """The job now and after each change, ending with its terminal state."""
        tag = ""
        while True:
            response = self.send(
                "GET", job_path(job_id), headers={"If-None-Match": tag} if tag else {}
            )
            if response.status_code != httpx.codes.NOT_MODIFIED:
                tag = response.headers.get("ETag", "")
                job = as_type(JobDetail, response.json())
                yield job
                if job.terminal:
                    return
            time.sleep(poll_seconds)

    # Results of a job

    def result(self, job_id: str) -> "Report":
        """The report, in the report type of the job's kind; `final` is false while the job runs."""
        found = self.document(job_id)
        name = found.get("kind") or self.job(job_id).kind  # older services do not send it
        report: Report = as_type(_kind_of(name).report, found)
        return report

    def document(self, job_id: str) -> dict[str, Any]:
        """The report as the service sent it."""
        return self.json("GET", f"{job_path(job_id)}/result")

    def levels(self, job_id: str) -> list[dict[str, Any]]:
        """The levels decided so far."""
        return list(self.json("GET", f"{job_path(job_id)}/levels")["items"])

    def trials(
        self,
        job_id: str,
        *,
        state: str | None = None,
        width: int | None = None,
        optimizer: str | None = None,
    ) -> Iterator[TrialSummary]:
        """All trials of a job that match the filters."""
        return self.items(
            TrialSummary,
            f"{job_path(job_id)}/trials",
            {"state": state, "width": width, "optimizer": optimizer},
        )

    def curves(
        self,
        job_id: str,
        *,
        points: int = 100,
        width: int | None = None,
        optimizer: str | None = None,
    ) -> tuple[Curve, ...]:
        """The curves of a job's trials, reduced to about `points` points each."""
        parameters = given({"points": points, "width": width, "optimizer": optimizer})
        answer = self.json("GET", f"{job_path(job_id)}/curves", params=parameters)
        return tuple(as_type(Curve, each) for each in answer["items"])

    def trial(self, trial_id: int) -> TrialDetail:
        """A trial with its specification."""
        return as_type(TrialDetail, self.json("GET", f"/v1/trials/{trial_id}"))

    def curve(self, trial_id: int, *, points: int | None = None) -> Curve:
        """A trial's curve, complete or reduced to about `points` points."""
        return as_type(
            Curve,
            self.json("GET", f"/v1/trials/{trial_id}/curve", params=given({"points": points})),
        )

    def export(
        self, job_id: str, to: str, *, optimizer: str | None = None, variant: str | None = None
    ) -> str:
        """The hyperparameters at the target for another trainer: `torch` (Python), `megatron`
        (flags) or `json`."""
        parameters = given({"to": to, "optimizer": optimizer, "variant": variant})
        return self.send("GET", f"{job_path(job_id)}/export", params=parameters).text

    # The service

    def corpora(self) -> tuple[Corpus, ...]:
        return tuple(as_type(Corpus, each) for each in self.json("GET", "/v1/corpora")["items"])

    def register_corpus(self, name: str, path: str) -> Corpus:
        """Register a path on the server under a name; the path must lie under the server's
        TELESCOPE_DATA_ROOTS."""
        return as_type(Corpus, self.json("POST", "/v1/corpora", json={"name": name, "path": path}))

    def ready(self) -> dict[str, str]:
        """The state of each part of the service. Raises Unavailable at once if a part is
        missing."""
        return dict(self.json("GET", "/readyz", patience_seconds=0.0)["parts"])


def _kind_of(name: Any) -> "Kind[Any, Any, Any]":
    """The kind of study with this name. Raises TelescopeError if this client does not know it."""
    from telescope.studies import registry  # imported late, for a fast start

    if name not in registry.KINDS:
        raise TelescopeError(f"this client knows no study of kind {name}; {UPDATE}")
    return registry.KINDS[name]
