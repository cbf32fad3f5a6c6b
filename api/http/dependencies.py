"""Dependencies of the route handlers: store, settings, the request's document, shared parameters.

Most handlers are synchronous, so FastAPI runs them on threads, where they may wait for the
database. All routes follow the same rules:

- Lists of jobs and trials are sent in pages, and so are tables in JSON. A `page_size` above 1000
  counts as 1000.
- The response to a GET of a job or of its result carries an ETag. If a client repeats the request
  with this ETag in If-None-Match and nothing has changed, the response has status 304 and costs one
  query to the database.
- A verb, such as `:cancel`, requests a new state of a job. If the job already has this state, or
  will have it because of an earlier request, the verb changes nothing and is no error.
- Exceptions become problem+json documents (`api.http.errors`).
"""

from typing import Annotated, Any

from fastapi import Depends, Header, Path, Query, Request

from api.http import bodies
from api.jobs.submission import Submission, opened
from api.settings import Settings
from api.store.store import Store
from telescope.studies.kind import AnyStudy

UNCHANGED: dict[int | str, dict[str, Any]] = {
    304: {"description": "Nothing has changed since the client received the ETag in If-None-Match."}
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
    """The merge patch in the body of a clone request. It is empty if the request has no body."""
    return document_of(request, body) if body else {}


def study_of(
    document: Annotated[Any, Depends(document_of)],
    settings: Annotated[Settings, Depends(settings_of)],
) -> AnyStudy:
    """The study in the body, with its corpora or tables read and hashed."""
    return opened(Submission(document, settings))


CurrentStore = Annotated[Store, Depends(store_of)]
PostedStudy = Annotated[AnyStudy, Depends(study_of)]
JobIdPath = Annotated[str, Path(pattern=r"^[\w.:-]+$", max_length=64)]
TrialId = Annotated[int, Path(ge=0, le=INT32)]
PageSize = Annotated[
    int,
    Query(
        ge=0,
        description="Items per page. 0 means the server's default. More than 1000 counts as 1000.",
    ),
]
PageToken = Annotated[
    str | None, Query(max_length=512, description="The `next_page_token` of the previous page.")
]
CurvePoints = Annotated[
    int,
    Query(
        ge=2,
        le=10_000,
        description="A curve with more points than this is thinned to about this number of points, "
        "or at most about twice as many to keep held-out losses.",
    ),
]
WidthQuery = Annotated[int | None, Query(ge=1, le=INT32)]
IfNoneMatch = Annotated[
    str | None,
    Header(description="ETag of an earlier response. If nothing has changed, the status is 304."),
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        max_length=128,
        pattern="^[!-~]+$",
        description="A POST with the key and the body of an earlier POST creates no job, but "
        "returns the job of the earlier POST.",
    ),
]
