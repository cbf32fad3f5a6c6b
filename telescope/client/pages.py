"""Requests for lists, which the service sends in pages, and the conversion of the service's JSON
documents to typed values."""

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
    """A connection that fetches lists page by page."""

    def items(
        self, value_type: type[Typed], path: str, filters: Mapping[str, str | int | None]
    ) -> Iterator[Typed]:
        """The items of a list, from all pages, as values of `value_type`."""
        for page in self.pages(path, filters):
            yield from (as_type(value_type, item) for item in page["items"])

    def pages(
        self, path: str, filters: Mapping[str, str | float | None]
    ) -> Iterator[dict[str, Any]]:
        """The pages of a list, as JSON documents."""
        parameters = without_none(filters) | {"page_size": PAGE_SIZE}
        while True:
            page = self.json("GET", path, params=parameters)
            yield page
            if not (token := page["next_page_token"]):
                return
            parameters["page_token"] = token


def as_type(value_type: type[Typed], document: Any) -> Typed:
    """A JSON document as a value of `value_type`. Fields that the type lacks are left out. Raises
    TelescopeError if the document does not fit the type."""
    try:
        return TypeAdapter(value_type).validate_python(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise TelescopeError(
            f"this client cannot read the service's answer ({field}: {first['msg']}); {UPDATE}"
        ) from error


def kind_named(name: Any) -> "Kind[Any, Any, Any]":
    """The kind of study with this name. Raises TelescopeError if this kind is unknown."""
    from telescope.studies import registry  # imported here, since it imports torch

    if name not in registry.KINDS:
        raise TelescopeError(f"this client knows no study of kind {name}; {UPDATE}")
    return registry.KINDS[name]


def job_path(job_id: str) -> str:
    """The URL path of a job, with special characters in the id escaped. An empty id is replaced by
    `-`, because the path with an empty id is the path of the list of jobs."""
    return f"/v1/jobs/{quote(job_id, safe='') or '-'}"
