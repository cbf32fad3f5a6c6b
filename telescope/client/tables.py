"""Requests for the tables of a compute-time job.

A compute-time job compares optimizers by the tokens and hours that they need to reach a loss. Each
table is computed for one target loss.
"""

from typing import TYPE_CHECKING, Any

from telescope.client.connection import without_none
from telescope.client.pages import Pages, as_type, job_path

# lazy import: telescope.studies imports torch, which takes a second
if TYPE_CHECKING:
    from telescope.studies.compute_time.rows import BatchAnswer, FrontierAnswer, RatioAnswer


class Tables(Pages):
    """Requests for the tables of a compute-time job. All methods raise InvalidInput if no run
    reached the target loss, or if the job is of another kind."""

    def frontier(
        self, job_id: str, target_loss: float, *, optimizer: str | None = None
    ) -> "FrontierAnswer":
        """The hours to the target loss by number of devices and batch size. In the answer, `rows`
        has the hours of `optimizer`, or of all optimizers if `optimizer` is None. `dominance`
        always compares AdamW with Muon. `model` states the assumptions about step times."""
        from telescope.studies.compute_time.rows import FrontierAnswer

        return as_type(FrontierAnswer, self._table(job_id, "frontier", target_loss, optimizer))

    def batch_sizes(
        self, job_id: str, target_loss: float, *, optimizer: str | None = None
    ) -> "BatchAnswer":
        """The tokens and steps to the target loss at each batch size (`rows`), and estimates of
        each optimizer's critical batch size, beyond which its tokens rise (`optimizers`)."""
        from telescope.studies.compute_time.rows import BatchAnswer

        return as_type(BatchAnswer, self._table(job_id, "batch-sizes", target_loss, optimizer))

    def token_ratio(self, job_id: str, target_loss: float) -> "RatioAnswer":
        """The number of tokens that AdamW needs, divided by the number that Muon needs, at each
        batch size (`rows`), and the trend of this ratio."""
        from telescope.studies.compute_time.rows import RatioAnswer

        return as_type(RatioAnswer, self._table(job_id, "token-ratio", target_loss, None))

    def csv(
        self, job_id: str, table: str, target_loss: float, *, optimizer: str | None = None
    ) -> str:
        """The rows of a table as CSV. `table` is `frontier`, `batch-sizes` or `token-ratio`. For
        `token-ratio`, `optimizer` must be None. Also raises InvalidInput if the table has more rows
        than the service sends as CSV."""
        parameters = without_none({"target_loss": target_loss, "optimizer": optimizer})
        return self.send(
            "GET", f"{job_path(job_id)}/{table}", params=parameters, headers={"Accept": "text/csv"}
        ).text

    def _table(
        self, job_id: str, table: str, target_loss: float, optimizer: str | None
    ) -> dict[str, Any]:
        """The JSON document of a table, with the rows of all pages in `rows`."""
        filters = {"target_loss": target_loss, "optimizer": optimizer}
        pages = list(self.pages(f"{job_path(job_id)}/{table}", filters))
        return pages[-1] | {"rows": [row for page in pages for row in page["items"]]}
