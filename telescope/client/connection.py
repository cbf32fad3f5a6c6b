"""Requests to a telescope service, and the errors that the service reports.

`Connection` sends requests over HTTP and returns the responses. If the service reports an error,
`Connection` raises an error of `telescope.errors` with the same message and problems. While the
service cannot be reached or reports `Unavailable`, the request is repeated for `patience_seconds`.
After this time, `Connection` raises `Unavailable`.
"""

import ipaddress
import re
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from telescope.errors import (
    Conflict,
    CorpusLost,
    InvalidInput,
    NotExportable,
    NotFound,
    Problem,
    TelescopeError,
    Unavailable,
)
from telescope.extras import extra

with extra("service"):
    import httpx

ERRORS: Mapping[str, type[TelescopeError]] = {
    error.code: error
    for error in (InvalidInput, NotFound, Conflict, NotExportable, Unavailable, CorpusLost)
}


class Connection:
    """A connection to one service. The connection is a context manager, and is not thread-safe.

    `timeout_seconds` is the timeout of httpx for a request. `patience_seconds` is the time for
    which failed requests are repeated (`send`). Raises InvalidInput if `url` does not have the form
    of an HTTP address.
    """

    def __init__(
        self, url: str, *, timeout_seconds: float = 60.0, patience_seconds: float = 10.0
    ) -> None:
        self.url = url.rstrip("/")
        self.patience_seconds = patience_seconds
        if not re.fullmatch(r"https?://([\w.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?(/\S*)?", url):
            raise InvalidInput.of(
                "url", "must be the address of a service, such as http://127.0.0.1:8765", url
            )
        self._timeout_seconds = timeout_seconds
        self._http = httpx.Client(
            base_url=self.url,
            timeout=timeout_seconds,
            trust_env=not _is_loopback(httpx.URL(self.url).host),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all HTTP connections to the service."""
        self._http.close()

    def json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        document: dict[str, Any] = self.send(method, path, **options).json()
        return document

    def send(
        self, method: str, path: str, *, patience_seconds: float | None = None, **options: Any
    ) -> httpx.Response:
        """The response to a request. `options` are passed to `httpx.Client.request`.

        While the service cannot be reached or reports Unavailable, the request is repeated for
        `patience_seconds`, by default the patience of the connection. After this time, raises
        Unavailable. Any other error that the service reports is raised at once. Raises InvalidInput
        if JSON cannot represent the document in the request.
        """
        if patience_seconds is None:
            patience_seconds = self.patience_seconds
        deadline = time.monotonic() + patience_seconds
        pause_seconds = 0.1
        while True:
            try:
                return _checked(self._http.request(method, path, **options))
            except Unavailable:
                if time.monotonic() + pause_seconds > deadline:
                    raise
            except httpx.TransportError as error:
                if time.monotonic() + pause_seconds > deadline:
                    raise self._unreachable(error) from None
            except (ValueError, TypeError) as error:  # JSON cannot represent the document
                raise InvalidInput.of("", f"cannot be sent: {error}") from None
            time.sleep(pause_seconds)
            pause_seconds = min(2 * pause_seconds, 2.0)

    def read_forever(self) -> httpx.Timeout:
        """A timeout that sets no limit to the wait for the response. It is for requests that may
        take the service minutes, for instance because it reads a whole corpus."""
        return httpx.Timeout(self._timeout_seconds, read=None)

    def _unreachable(self, error: Exception) -> Unavailable:
        if isinstance(error, httpx.ReadTimeout):
            return Unavailable(
                f"the service at {self.url} accepts connections but did not answer within "
                f"{self._timeout_seconds:g} s; try again later"
            )
        reason = str(error) or type(error).__name__
        return Unavailable(
            f"no telescope service answers at {self.url} ({reason}); "
            "check the address, or start a service with `telescope serve`"
        )


def _checked(response: httpx.Response) -> httpx.Response:
    """The response, if its status is not an error. Otherwise raises the error that the problem+json
    document in the response describes. If there is no such document, raises Unavailable for the
    status of a failed gateway (502, 503 or 504), and TelescopeError for any other error status."""
    if not response.is_error:
        return response
    try:
        problem = response.json()
        code, detail, fields = problem["code"], problem["detail"], problem["errors"]
    except (ValueError, KeyError, TypeError):
        message = (
            f"HTTP {response.status_code} {response.reason_phrase} from {response.url} "
            "is not an answer of telescope; check the address and any proxy"
        )
        gateway_error = response.status_code in {502, 503, 504}
        raise (Unavailable if gateway_error else TelescopeError)(message) from None
    problems = tuple(Problem(field["field"], field["message"], field["value"]) for field in fields)
    raise _error_class(code, response.status_code)(detail, problems)


def _error_class(code: str, status: int) -> type[TelescopeError]:
    """The error class with this code. If the code is unknown, the class that fits the HTTP
    status."""
    by_status: dict[int, type[TelescopeError]] = {
        error.status: error for error in (InvalidInput, NotFound, Conflict, Unavailable)
    }
    default = InvalidInput if 400 <= status < 500 else TelescopeError
    return ERRORS.get(code) or by_status.get(status) or default


def _is_loopback(host: str) -> bool:
    """True for localhost and for loopback addresses. A proxy must not be used for these hosts."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def without_none(parameters: Mapping[str, str | float | None]) -> dict[str, str | float]:
    """The parameters that are not None."""
    return {name: value for name, value in parameters.items() if value is not None}
