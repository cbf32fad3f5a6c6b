"""A synchronous Python client of a telescope service.

`Client` has a method for every endpoint of `/v1`. Most methods return frozen values: the resources
of `telescope.client.resources`, or the reports, previews and answers of `telescope.studies`. The
type of a report or a preview depends on the kind of the job. Fields that only a newer service sends
are left out. `document` and `levels` return JSON as the service sent it. `export`, `csv` and
`grokking_csv` return text.

If the service reports an error, the client raises an error of `telescope.errors` with the same
message and the same problems. While the service cannot be reached or reports `Unavailable`, the
client repeats a request for `patience_seconds`. After that time, the client raises `Unavailable`. A
repeated request does no harm: a submission carries an Idempotency-Key, so it creates only one job.

    with Client("http://127.0.0.1:8765") as client:
        job = client.submit({"kind": "telescope", ...})
        for job in client.watch(job.id): print(job.state, job.trials_done, job.trials_total)
        print(client.result(job.id).verdict)
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from telescope.client.connection import without_none
from telescope.client.grokking import GrokkingTables
from telescope.client.jobs import JobRequests
from telescope.client.pages import as_type, job_path, kind_named
from telescope.client.resources import Corpus, Curve, TrialDetail, TrialSummary
from telescope.client.tables import Tables

# telescope.studies imports torch, which takes a second, so it is imported only when it is needed
if TYPE_CHECKING:
    from telescope.studies.kind import Report


class Client(JobRequests, Tables, GrokkingTables):
    """A client of one service. The client is a context manager, and is not thread-safe."""

    # Results of a job

    def result(self, job_id: str) -> "Report":
        """The report of a job. The type of the report depends on the job's kind. The report's field
        `final` is False until the job ends."""
        document = self.document(job_id)
        kind = document.get("kind") or self.job(job_id).kind  # older services omit the kind
        report: Report = as_type(kind_named(kind).report, document)
        return report

    def document(self, job_id: str) -> dict[str, Any]:
        """The report of a job, as the service sent it."""
        return self.json("GET", f"{job_path(job_id)}/result")

    def levels(self, job_id: str) -> list[dict[str, Any]]:
        """The levels of a job that are decided so far, as the service sent them. A level is the
        search at one width, for one optimizer and variant. Only jobs of kind `telescope` have
        levels; for any other job, the list is empty."""
        return list(self.json("GET", f"{job_path(job_id)}/levels")["items"])

    def trials(
        self,
        job_id: str,
        *,
        state: str | None = None,
        width: int | None = None,
        optimizer: str | None = None,
    ) -> Iterator[TrialSummary]:
        """All trials of a job that match the filters. A filter that is None matches all trials."""
        filters = {"state": state, "width": width, "optimizer": optimizer}
        return self.items(TrialSummary, f"{job_path(job_id)}/trials", filters)

    def curves(
        self,
        job_id: str,
        *,
        points: int = 100,
        width: int | None = None,
        optimizer: str | None = None,
    ) -> tuple[Curve, ...]:
        """The curves of a job's trials, reduced to about `points` points each."""
        parameters = without_none({"points": points, "width": width, "optimizer": optimizer})
        body = self.json("GET", f"{job_path(job_id)}/curves", params=parameters)
        return tuple(as_type(Curve, item) for item in body["items"])

    def trial(self, trial_id: int) -> TrialDetail:
        """A trial with its full specification."""
        return as_type(TrialDetail, self.json("GET", f"/v1/trials/{trial_id}"))

    def curve(self, trial_id: int, *, points: int | None = None) -> Curve:
        """A trial's curve, reduced to about `points` points. By default, it is not reduced."""
        parameters = without_none({"points": points})
        return as_type(Curve, self.json("GET", f"/v1/trials/{trial_id}/curve", params=parameters))

    def export(
        self, job_id: str, to: str, *, optimizer: str | None = None, variant: str | None = None
    ) -> str:
        """The hyperparameters at the target width, as text for another trainer. `to` is `torch`
        (Python code), `megatron` (flags) or `json`.

        By default, `optimizer` is the job's best optimizer, or the job's first optimizer if none is
        known to be the best. `variant` is one of the architectures or texts that the job compares,
        by default the best. It is required if no variant is known to be the best. Raises
        NotExportable if the job has no report or no hyperparameters that can be used, or if the
        format cannot express them. Raises InvalidInput if the job is not of kind `telescope`, or
        has no such optimizer or variant.
        """
        parameters = without_none({"to": to, "optimizer": optimizer, "variant": variant})
        return self.send("GET", f"{job_path(job_id)}/export", params=parameters).text

    # The service

    def corpora(self) -> tuple[Corpus, ...]:
        return tuple(as_type(Corpus, item) for item in self.json("GET", "/v1/corpora")["items"])

    def register_corpus(self, name: str, path: str, text_field: str = "text") -> Corpus:
        """Register a path on the server under a name.

        The path must be, or lie in, one of the folders in the server's setting
        TELESCOPE_DATA_ROOTS. `text_field` is the column or key of the text in a `.parquet` or
        `.jsonl` file.
        """
        corpus = {"name": name, "path": path, "text_field": text_field}
        return as_type(Corpus, self.json("POST", "/v1/corpora", json=corpus))

    def ready(self) -> dict[str, str]:
        """The state of each part of the service, by the part's name. Raises Unavailable if a part
        is not ready or the service cannot be reached. This request is not repeated."""
        return dict(self.json("GET", "/readyz", patience_seconds=0.0)["parts"])
