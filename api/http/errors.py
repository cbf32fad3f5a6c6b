"""Errors as HTTP responses.

Every error is sent as a document of the media type `application/problem+json` (RFC 9457). All these
documents have the same members: `type`, `title`, `status`, `detail`, `instance`, `code` and
`errors`. The `code` names the kind of error, and does not change between versions of telescope. The
list `errors` has details, such as the invalid fields (`FieldProblem`). An unforeseen exception
becomes a response with status 500, which reveals no internals; the traceback is in the server's
log.

Parts: `FieldProblem` and `ProblemDocument`, the schemas of the documents · `error_responses`, the
OpenAPI entries of error responses · `problem_response`, which builds a response · `install`, which
registers the handlers of all exceptions.
"""

import json
import logging
import re
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from telescope import errors

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 2
LONGEST_VALUE = 300  # bytes of JSON, or characters of text; `echoed` cuts longer values

# codes by status
CODES = {
    400: "bad_request",
    404: "no_such_path",
    405: "method_not_allowed",
    406: "not_acceptable",
    413: "content_too_large",
}

# details by status; they replace the framework's details, which only repeat the status
DETAILS = {
    404: "there is no such path; GET /docs lists all paths",
    405: "this path does not allow this method; GET /docs lists the methods of each path",
}

log = logging.getLogger(__name__)


class FieldProblem(BaseModel):
    """A detail of an error, such as an invalid field or parameter, a field that an export format
    cannot express, or a part of the service that is not ready."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    field: str
    """Dotted path of the field in the document, name of the parameter, or name of the part of the
    service. It is empty if the problem concerns the whole document."""
    pointer: str | None = None
    """The path of the field as a JSON pointer (RFC 6901). It is null if the request is not a POST,
    and in most cases for an invalid parameter or header."""
    message: str
    """What is wrong, and what to do about it."""
    value: Any = None
    """The invalid value. A long value is given as text and cut."""


class ProblemDocument(BaseModel):
    """An error in the format of RFC 9457."""

    model_config = ConfigDict(use_attribute_docstrings=True, title="Problem")

    type: str = Field(examples=["urn:telescope:problem:invalid_input"])
    title: str
    status: int
    detail: str
    instance: str
    """Path of the request."""
    code: str
    """Name of the kind of error; it does not change between versions."""
    errors: list[FieldProblem] = []


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI entries of error responses, by status."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in statuses
    }


def pointer(field: str) -> str:
    """Convert a dotted path, such as `search.lr.low` or `optimizer[1]`, to a JSON pointer."""
    parts = [part for part in re.split(r"[.\[\]]+", field) if part]
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)


def echoed(value: Any) -> Any:
    """Return a value unchanged if its JSON has at most `LONGEST_VALUE` bytes.

    Any other value is returned as text of at most `LONGEST_VALUE` characters.
    """
    try:
        if len(json.dumps(value, allow_nan=False, ensure_ascii=False).encode()) <= LONGEST_VALUE:
            return value
    except (TypeError, ValueError, RecursionError):
        pass  # JSON cannot hold the value, for example nan, bytes or a lone surrogate
    text = value if isinstance(value, str) else repr(value)
    return text.encode(errors="replace").decode()[:LONGEST_VALUE]


def problem_response(
    request: Request, status: int, code: str, detail: str, fields: list[FieldProblem] | None = None
) -> JSONResponse:
    """Build the problem+json response of an error."""
    headers = {}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    problem = ProblemDocument(
        type=f"urn:telescope:problem:{code}",
        title=code.replace("_", " ").capitalize(),
        status=status,
        detail=detail.encode(errors="replace").decode(),
        instance=request.url.path,
        code=code,
        errors=fields or [],
    )
    return JSONResponse(problem.model_dump(mode="json"), status, headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Register handlers that turn every exception into a problem document."""
    app.add_exception_handler(errors.TelescopeError, _telescope_error)
    app.add_exception_handler(RequestValidationError, _invalid_parameter)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unforeseen)


def _telescope_error(request: Request, error: Exception) -> JSONResponse:
    """Convert a TelescopeError, which holds the status, the code, the message and the problems."""
    assert isinstance(error, errors.TelescopeError)
    in_body = request.method == "POST"
    fields = [
        FieldProblem(
            field=problem.field,
            pointer=pointer(problem.field) if in_body else None,
            message=problem.message,
            value=echoed(problem.value),
        )
        for problem in error.problems
    ]
    return problem_response(request, error.status, error.code, error.message, fields)


def _invalid_parameter(request: Request, error: Exception) -> JSONResponse:
    """Convert a RequestValidationError about a parameter, or about the body of POST /v1/corpora.

    The framework does not validate the bodies of other routes. If the body of another route is
    invalid, the route's own parser raises InvalidInput.
    """
    assert isinstance(error, RequestValidationError)
    fields = []
    for details in error.errors():
        place, *path = map(str, details["loc"])
        name, text = ".".join(path), details["msg"]
        where = "in the body" if place == "body" else f"{place} parameter"
        problem = FieldProblem(
            field=name,
            pointer=pointer(name) if place == "body" else None,
            message=f"{text[:1].lower()}{text[1:]} ({where})",
            value=echoed(details.get("input")),
        )
        fields.append(problem)
    detail = "; ".join(
        f"{problem.field}: {problem.message} (given: {problem.value!r})" for problem in fields
    )
    return problem_response(request, 422, errors.InvalidInput.code, detail, fields)


def _http_error(request: Request, error: Exception) -> JSONResponse:
    """Convert an HTTPException.

    These exceptions report an unknown path, a wrong method, an Accept header that allows no format
    of the route, and a body that cannot be read or is too long.
    """
    assert isinstance(error, HTTPException)
    status = error.status_code
    code = CODES.get(status, f"http_{status}")
    response = problem_response(request, status, code, DETAILS.get(status, str(error.detail)))
    response.headers.update(error.headers or {})
    return response


def _unforeseen(request: Request, error: Exception) -> JSONResponse:
    """Write an unforeseen exception to the log, and return a response that reveals no internals."""
    log.exception("%s %s failed", request.method, request.url.path, exc_info=error)
    detail = "telescope failed on this request; see the server's log for the cause"
    return problem_response(request, 500, "internal_error", detail)
