"""Requests for the tables of a compute-time job, which answer a target loss."""

from typing import TYPE_CHECKING, Any

from telescope.client.connection import without_none
from telescope.client.pages import Pages, as_type, job_path

# studies import torch, which takes a second; hence the imports in functions below
if TYPE_CHECKING:
    from telescope.studies.compute_time.rows import BatchAnswer, FrontierAnswer, RatioAnswer


class Tables(Pages):
    """Requests for the tables of a compute-time job. All raise InvalidInput if no run reached the
    target loss, or if the job is of another kind."""

    def frontier(
        self, job_id: str, target_loss: float, *, optimizer: str | None = None
    ) -> "FrontierAnswer":
        """Hours against devices: `rows`, `dominance`, and the assumptions about step times. Without
        `optimizer`, the rows of both optimizers; `dominance` always compares both."""
        from telescope.studies.compute_time.rows import FrontierAnswer

        return as_type(FrontierAnswer, self._table(job_id, "frontier", target_loss, optimizer))

    def batch_sizes(
        self, job_id: str, target_loss: float, *, optimizer: str | None = None
    ) -> "BatchAnswer":
        """Tokens and steps against batch size: `rows`, and each optimizer's critical batch in
        `optimizers`."""
        from telescope.studies.compute_time.rows import BatchAnswer

        return as_type(BatchAnswer, self._table(job_id, "batch-sizes", target_loss, optimizer))

    def token_ratio(self, job_id: str, target_loss: float) -> "RatioAnswer":
        """The token ratio (AdamW's tokens / Muon's) against batch size: `rows`, and their trend."""
        from telescope.studies.compute_time.rows import RatioAnswer

        return as_type(RatioAnswer, self._table(job_id, "token-ratio", target_loss, None))

    def csv(
        self, job_id: str, table: str, target_loss: float, *, optimizer: str | None = None
    ) -> str:
        """The rows of a table as CSV. `table` is `frontier`, `batch-sizes`, or `token-ratio`, for
        which `optimizer` must be None. Raises InvalidInput also if there are too many rows."""
        parameters = without_none({"target_loss": target_loss, "optimizer": optimizer})
        return self.send(
            "GET", f"{job_path(job_id)}/{table}", params=parameters, headers={"Accept": "text/csv"}
        ).text

    def _table(
        self, job_id: str, table: str, target_loss: float, optimizer: str | None
    ) -> dict[str, Any]:
        """The document of a table, with the rows of all pages."""
        filters = {"target_loss": target_loss, "optimizer": optimizer}
        pages = list(self.pages(f"{job_path(job_id)}/{table}", filters))
        return pages[-1] | {"rows": [row for page in pages for row in page["items"]]}
