"""Requests that submit studies, read and change the state of jobs, and judge sweeps that were run
without telescope."""

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from telescope.client.connection import without_none
from telescope.client.pages import Pages, as_type, job_path, kind_named
from telescope.client.resources import Job, JobDetail
from telescope.extras import extra

with extra("service"):
    import httpx

# telescope.studies imports torch, which takes a second, so it is imported only when it is needed
if TYPE_CHECKING:
    from telescope.studies.telescoping.judge.judge import Judgement


class JobRequests(Pages):
    """Requests about jobs and their states."""

    def submit(self, document: object, *, idempotency_key: str | None = None) -> JobDetail:
        """Submit a study as a job. A second submission with the same `idempotency_key` returns the
        job of the first submission, or raises InvalidInput if the documents differ."""
        return self._submission("/v1/jobs", document, idempotency_key)

    def preview(self, document: object) -> Any:
        """The expected trials and cost of a study. The type of this value depends on the study's
        kind. Nothing is trained."""
        body = self.json("POST", "/v1/jobs:preview", json=document, timeout=self.read_forever())
        kind = body.get("kind")
        if not kind and isinstance(document, Mapping):  # older services omit the kind
            kind = document.get("kind")
        return as_type(kind_named(kind).preview, body)

    def judge(
        self, sweep: str | Sequence[Mapping[str, Any]], *, target_width: int | None = None
    ) -> "Judgement":
        """The verdict on a sweep that was run without telescope: whether its optimum transfers to
        `target_width`. By default, this width is twice the widest width of the sweep. `sweep` is
        the text of a CSV table, or a list of rows. In such a row, a loss of None means that the run
        diverged."""
        from telescope.studies.telescoping.judge.judge import Judgement

        options: dict[str, Any] = {
            "params": without_none({"target_width": target_width}),
            "timeout": self.read_forever(),
        }
        if isinstance(sweep, str):
            options |= {"content": sweep.encode(), "headers": {"Content-Type": "text/csv"}}
        else:
            options |= {"json": {"rows": list(sweep)}}
        return as_type(Judgement, self.json("POST", "/v1/judgements", **options))

    def jobs(self, *, state: str | None = None) -> Iterator[Job]:
        """All jobs, or all jobs in one state, with the newest job first."""
        return self.items(Job, "/v1/jobs", {"state": state})

    def job(self, job_id: str) -> JobDetail:
        """A job with its study."""
        return as_type(JobDetail, self.json("GET", job_path(job_id)))

    def cancel(self, job_id: str) -> Job:
        """End a job. The job's measurements stay readable, and `retry` can continue the job."""
        return as_type(Job, self.json("POST", f"{job_path(job_id)}:cancel"))

    def pause(self, job_id: str) -> Job:
        """Stop the trials of a job and keep their checkpoints. `resume` continues the job."""
        return as_type(Job, self.json("POST", f"{job_path(job_id)}:pause"))

    def resume(self, job_id: str) -> Job:
        """Resume a paused job."""
        return as_type(Job, self.json("POST", f"{job_path(job_id)}:resume"))

    def retry(self, job_id: str) -> Job:
        """Continue a job that failed or was cancelled. The job's finished trials are kept."""
        return as_type(Job, self.json("POST", f"{job_path(job_id)}:retry"))

    def clone(
        self,
        job_id: str,
        changes: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> JobDetail:
        """Submit a new job. Its study is the study of the job `job_id`, changed by the JSON merge
        patch `changes`. Completed trials that both jobs need are reused, except trials that were
        trained on another device or with other software. If the new study has `reuse: false`,
        nothing is reused."""
        return self._submission(f"{job_path(job_id)}:clone", changes or {}, idempotency_key)

    def watch(self, job_id: str, *, poll_seconds: float = 0.5) -> Iterator[JobDetail]:
        """Yield the job at once, and again whenever a poll finds that the job has changed, until
        the job has ended."""
        etag = ""
        while True:
            headers = {"If-None-Match": etag} if etag else {}
            response = self.send("GET", job_path(job_id), headers=headers)
            if response.status_code != httpx.codes.NOT_MODIFIED:
                etag = response.headers.get("ETag", "")
                job = as_type(JobDetail, response.json())
                yield job
                if job.terminal:
                    return
            time.sleep(poll_seconds)

    def _submission(self, path: str, body: object, idempotency_key: str | None) -> JobDetail:
        """The job that this POST request creates, or the job that an earlier POST request with the
        same key created."""
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        document = self.json("POST", path, json=body, headers=headers, timeout=self.read_forever())
        return as_type(JobDetail, document)
