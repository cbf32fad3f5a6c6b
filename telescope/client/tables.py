"""Results of a compute-time job at a target loss, and lists and results of several pages."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from pydantic import TypeAdapter, ValidationError

from telescope.client.connection import Connection, given
from telescope.errors import TelescopeError

# the types of studies import torch, which listing jobs need not wait for; hence the imports in
# functions below
if TYPE_CHECKING:
    from telescope.studies.compute_time.rows import BatchAnswer, FrontierAnswer, RatioAnswer


PAGE_SIZE = 1000
UPDATE = "install the version of telescope that the service runs"
Typed = TypeVar("Typed")


class Tables(Connection):
    """Requests that follow pages, and the tables of compute-time jobs."""

    def frontier(
        self, job_id: str, target_loss: float, *, optimizer: str | None = None
    ) -> "FrontierAnswer":
        """Hours against devices: `rows`, `dominance`, and the assumptions about step times."""
        # imported late, for a fast start
        from telescope.studies.compute_time.rows import FrontierAnswer

        return as_type(FrontierAnswer, self._answer(job_id, "frontier", target_loss, optimizer))

    def batch_sizes(
        self, job_id: str, target_loss: float, *, optimizer: str | None = None
    ) -> "BatchAnswer":
        """Tokens and steps against batch size: `rows`, and the critical batches of the
        `optimizers`."""
        # imported late, for a fast start
        from telescope.studies.compute_time.rows import BatchAnswer

        return as_type(BatchAnswer, self._answer(job_id, "batch-sizes", target_loss, optimizer))

    def token_ratio(self, job_id: str, target_loss: float) -> "RatioAnswer":
        """AdamW's tokens over Muon's against batch size: `rows`, and their trend."""
        # imported late, for a fast start
        from telescope.studies.compute_time.rows import RatioAnswer

        return as_type(RatioAnswer, self._answer(job_id, "token-ratio", target_loss, None))

    def csv(
        self, job_id: str, table: str, target_loss: float, *, optimizer: str | None = None
    ) -> str:
        """The rows of frontier, batch-sizes or token-ratio as CSV."""
        parameters = given({"target_loss": target_loss, "optimizer": optimizer})
        return self.send(
            "GET", f"{job_path(job_id)}/{table}", params=parameters, headers={"Accept": "text/csv"}
        ).text

    def items(
        self, kind: type[Typed], path: str, filters: Mapping[str, str | int | None]
    ) -> Iterator[Typed]:
        parameters = given(filters) | {"page_size": PAGE_SIZE}
        while True:
            page = self.json("GET", path, params=parameters)
            yield from (as_type(kind, each) for each in page["items"])
            if not (token := page["next_page_token"]):
                return
            parameters["page_token"] = token

    def _answer(
        self, job_id: str, table: str, target_loss: float, optimizer: str | None
    ) -> dict[str, Any]:
        """An answer with the rows of all its pages."""
        rows: list[Any] = []
        parameters = given({"target_loss": target_loss, "optimizer": optimizer}) | {
            "page_size": PAGE_SIZE
        }
        while True:
            page = self.json("GET", f"{job_path(job_id)}/{table}", params=parameters)
            rows += page.pop("items")
            if not (token := page.pop("next_page_token")):
                return page | {"rows": rows}
            parameters["page_token"] = token


def job_path(job_id: str) -> str:
    """The path of a job's resource; a mistyped id is escaped."""
    return f"/v1/jobs/{quote(job_id, safe='') or '-'}"


def as_type(kind: type[Typed], document: Any) -> Typed:
    """A document as a frozen value; fields that its type does not have are left out."""
    try:
        return TypeAdapter(kind).validate_python(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise TelescopeError(
            f"this client cannot read the service's answer ({where}: {first['msg']}); {UPDATE}"
        ) from error
