"""Documents of the service as typed values, and lists that the service sends in pages.

Parts: `Pages`, requests that follow pages · `as_type`, a document as a value · `kind_named` ·
`job_path`.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from pydantic import TypeAdapter, ValidationError

from telescope.client.connection import Connection, without_none
from telescope.errors import TelescopeError

if TYPE_CHECKING:
    from telescope.studies.kind import Kind

PAGE_SIZE = 1000
UPDATE = "install the version of telescope that the service runs"
Typed = TypeVar("Typed")


class Pages(Connection):
    """A connection that follows pages."""

    def items(
        self, kind: type[Typed], path: str, filters: Mapping[str, str | int | None]
    ) -> Iterator[Typed]:
        """The items of a list, fetched page by page, as values of one type."""
        for page in self.pages(path, filters):
            yield from (as_type(kind, item) for item in page["items"])

    def pages(
        self, path: str, filters: Mapping[str, str | float | None]
    ) -> Iterator[dict[str, Any]]:
        """The documents of all pages."""
        parameters = without_none(filters) | {"page_size": PAGE_SIZE}
        while True:
            page = self.json("GET", path, params=parameters)
            yield page
            if not (token := page["next_page_token"]):
                return
            parameters["page_token"] = token


def as_type(kind: type[Typed], document: Any) -> Typed:
    """A document as a frozen value; fields that its type does not have are left out. Raises
    TelescopeError if the document does not fit the type."""
    try:
        return TypeAdapter(kind).validate_python(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise TelescopeError(
            f"this client cannot read the service's answer ({where}: {first['msg']}); {UPDATE}"
        ) from error


def kind_named(name: Any) -> "Kind[Any, Any, Any]":
    """The kind of study with this name. Raises TelescopeError if this client does not know it."""
    from telescope.studies import registry  # imported late, since it imports torch

    if name not in registry.KINDS:
        raise TelescopeError(f"this client knows no study of kind {name}; {UPDATE}")
    return registry.KINDS[name]


def job_path(job_id: str) -> str:
    """The path of a job's resource; special characters in the id are escaped."""
    return f"/v1/jobs/{quote(job_id, safe='') or '-'}"
