"""Requests for the tables of a grokking job, which compares when optimizers generalise."""

from typing import TYPE_CHECKING, Literal

from telescope.client.pages import Pages, job_path

# telescope.studies imports torch, which takes a second, so it is imported only when it is needed
if TYPE_CHECKING:
    from telescope.studies.grokking.rows import RunRow
    from telescope.studies.grokking.tables import CellTableRow


class GrokkingTables(Pages):
    """Requests for the tables of a grokking job. All methods raise InvalidInput if the job is of
    another kind. Until the job ends, the tables cover the runs that are finished so far."""

    def grokking_cells(self, job_id: str) -> "tuple[CellTableRow, ...]":
        """The comparison of the optimizers in each cell. A cell is a task together with a form of
        softmax in the loss. There are two rows for each cell. The first half of the rows compares
        the times of sustained generalisation. The second half compares the times at which the
        held-out accuracy first reaches 95 % after a run has memorised the training rows."""
        from telescope.studies.grokking.tables import CellTableRow

        return tuple(self.items(CellTableRow, *self._table_of(job_id, "cells")))

    def grokking_runs(self, job_id: str) -> "tuple[RunRow, ...]":
        """The finished runs, including the runs of the tuning."""
        from telescope.studies.grokking.rows import RunRow

        return tuple(self.items(RunRow, *self._table_of(job_id, "runs")))

    def grokking_csv(self, job_id: str, table: Literal["cells", "runs"] = "cells") -> str:
        """The rows of a table as CSV."""
        path, parameters = self._table_of(job_id, table)
        return self.send("GET", path, params=parameters, headers={"Accept": "text/csv"}).text

    def _table_of(self, job_id: str, table: str) -> tuple[str, dict[str, str]]:
        """The path of a job's tables, and the query parameters of one table."""
        return f"{job_path(job_id)}/grokking", {"table": table}
