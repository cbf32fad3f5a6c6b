"""Dependencies of the route handlers: store, settings, the request's document, shared parameters.

Handlers are short; most are synchronous and run on threads, in which they wait for the database.
All routes follow the same rules: lists of jobs, trials and table rows are paged (a `page_size`
above 1000 counts as 1000); a job and its result carry an ETag, and a poll with If-None-Match costs
one query if nothing has changed; a repeated verb is not an error. `api.http.errors` converts
exceptions to problem+json.
"""

from typing import Annotated, Any

from fastapi import Depends, Header, Path, Query, Request

from api.http import bodies
from api.jobs.submission import Submission, opened
from api.settings import Settings
from api.store.store import Store
from telescope.studies.kind import AnyStudy

UNCHANGED: dict[int | str, dict[str, Any]] = {
    304: {"description": "Unchanged since the ETag in If-None-Match."}
}
INT32 = 2**31 - 1


def store_of(request: Request) -> Store:
    store: Store = request.app.state.store
    return store


def settings_of(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def body_of(request: Request) -> bytes:
    return await request.body()


def document_of(request: Request, body: Annotated[bytes, Depends(body_of)]) -> Any:
    return bodies.parse_body(body, request.headers.get("Content-Type"))


def changes_of(request: Request, body: Annotated[bytes, Depends(body_of)]) -> Any:
    """The merge patch in the body of a clone request; empty without a body."""
    return document_of(request, body) if body else {}


def study_of(
    document: Annotated[Any, Depends(document_of)],
    settings: Annotated[Settings, Depends(settings_of)],
) -> AnyStudy:
    """The study in the body, with its corpora opened and tokenised."""
    return opened(Submission(document, settings))


CurrentStore = Annotated[Store, Depends(store_of)]
PostedStudy = Annotated[AnyStudy, Depends(study_of)]
JobIdPath = Annotated[str, Path(pattern=r"^[\w.:-]+$", max_length=64)]
TrialId = Annotated[int, Path(ge=0, le=INT32)]
PageSize = Annotated[
    int, Query(ge=0, description="Items per page, at most 1000; 0 means the server's default.")
]
PageToken = Annotated[
    str | None, Query(max_length=512, description="The `next_page_token` of the previous page.")
]
CurvePoints = Annotated[
    int,
    Query(
        ge=2, le=10_000, description="Approximate number of points to which each curve is thinned."
    ),
]
WidthQuery = Annotated[int | None, Query(ge=1, le=INT32)]
IfNoneMatch = Annotated[
    str | None, Header(description="ETag of an earlier response; 304 if nothing has changed since.")
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        max_length=128,
        pattern="^[!-~]+$",
        description="A POST repeated with the same key and body returns the first job.",
    ),
]
