"""How does a failure reach an HTTP client?

As `application/problem+json` (RFC 9457), always, and in one shape: `type`, `title`, `status`, `detail`, `instance`, the stable
`code`, and `errors`, which names each field at fault with its JSON pointer (RFC 6901), its value and the remedy. Whatever
telescope did not foresee is a 500 that says nothing of the inside; the log has the rest.

Parts: `Problem`, `FieldProblem` (the schema) · `problem_response` · `install` (the four handlers) · `described` (for OpenAPI).
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
LONGEST_VALUE = 300  # characters of an offending value that are echoed
CODES = {400: "bad_request", 404: "no_such_path", 405: "method_not_allowed", 406: "not_acceptable", 413: "content_too_large"}

log = logging.getLogger(__name__)


class FieldProblem(BaseModel):
    """One field at fault."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    field: str
    """Dotted path in the document, or the name of the parameter; empty for the whole."""
    pointer: str | None = None
    """JSON pointer into the request's body; null for a parameter or a header."""
    message: str
    """What is wrong, and the remedy."""
    value: Any = None
    """The value as given."""


class Problem(BaseModel):
    """An error as RFC 9457 has it."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    type: str = Field(examples=["urn:telescope:problem:invalid_input"])
    title: str
    status: int
    detail: str
    instance: str
    """Path of the request."""
    code: str
    """Stable name of the kind of error."""
    errors: list[FieldProblem] = []


def described(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of these error responses."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def pointer(field: str) -> str:
    """The JSON pointer of a dotted path such as `search.lr.low` or `optimizer[1]`."""
    parts = [part for part in re.split(r"[.\[\]]+", field) if part]
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)


def echoed(value: Any) -> Any:
    """A value as JSON can carry it, cut to a length that fits into an error."""
    try:
        if len(json.dumps(value, allow_nan=False, ensure_ascii=False).encode()) <= LONGEST_VALUE:
            return value
    except (TypeError, ValueError, RecursionError):  # not JSON: nan, bytes, half of a surrogate pair, an object
        pass
    text = value if isinstance(value, str) else repr(value)
    return text.encode(errors="replace").decode()[:LONGEST_VALUE]


def problem_response(
    request: Request,
    status: int,
    code: str,
    detail: str,
    fields: list[FieldProblem] | None = None,
) -> JSONResponse:
    """The response that says what went wrong."""
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
    problem = Problem(
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
    """Make every failure of the app a problem."""
    app.add_exception_handler(errors.TelescopeError, _telescope_error)
    app.add_exception_handler(RequestValidationError, _invalid_parameter)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unforeseen)


def _telescope_error(request: Request, error: Exception) -> JSONResponse:
    """An error raised on purpose: it knows its status, its code and the fields at fault."""
    assert isinstance(error, errors.TelescopeError)
    in_body = request.method == "POST"
    fields = [
        FieldProblem(field=p.field, pointer=pointer(p.field) if in_body else None, message=p.message, value=echoed(p.value))
        for p in error.problems
    ]
    return problem_response(request, error.status, error.code, error.message, fields)


def _invalid_parameter(request: Request, error: Exception) -> JSONResponse:
    """A path, query or header parameter that does not fit; bodies are read by `api.http.bodies` and fail as InvalidInput."""
    assert isinstance(error, RequestValidationError)
    fields = []
    for each in error.errors():
        place, *path = map(str, each["loc"])
        where = pointer(".".join(path)) if place == "body" else None
        message = f"{each['msg'][:1].lower()}{each['msg'][1:]} ({place} parameter)"
        fields.append(FieldProblem(field=".".join(path), pointer=where, message=message, value=echoed(each.get("input"))))
    detail = "; ".join(f"{each.field}: {each.message} (given: {each.value!r})" for each in fields)
    return problem_response(request, 422, errors.InvalidInput.code, detail, fields)


def _http_error(request: Request, error: Exception) -> JSONResponse:
    """No such path, no such method, too large a body: what the framework refuses."""
    assert isinstance(error, HTTPException)
    code = CODES.get(error.status_code, f"http_{error.status_code}")
    response = problem_response(request, error.status_code, code, str(error.detail))
    response.headers.update(error.headers or {})
    return response


def _unforeseen(request: Request, error: Exception) -> JSONResponse:
    """A defect of telescope: logged in full, told without internals."""
    log.exception("%s %s failed", request.method, request.url.path, exc_info=error)
    return problem_response(request, 500, "internal_error", "telescope failed on this request; its log says why")
