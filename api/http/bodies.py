"""Bodies of requests: read as plain JSON values that every database can store.

What a document says is judged by `telescope.studies.registry`, and what it may name by `api.jobs.admission`.

Parts: `BodyLimit` (middleware) · `document` · `require_known`.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from fastapi.exceptions import RequestValidationError
from ruamel.yaml import YAML, tokens
from ruamel.yaml.error import YAMLError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.jobs.documents import from_yaml
from telescope.errors import InvalidInput, Problem, nearest, no_text

YAML_TYPES = frozenset({"application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml"})
BODY_BYTES = 1 << 20
YAML_CHARACTERS = 1 << 14  # a YAML parser in Python needs about half a second for these
DEEPEST = 32
LARGEST_INTEGER = 2**53
OPENING = (
    tokens.FlowSequenceStartToken,
    tokens.FlowMappingStartToken,
    tokens.BlockSequenceStartToken,
    tokens.BlockMappingStartToken,
)
CLOSING = (tokens.FlowSequenceEndToken, tokens.FlowMappingEndToken, tokens.BlockEndToken)


class BodyLimit:
    """Refuses a body above `BODY_BYTES` as it is read, by an error that becomes a problem (the framework's own limit is plain text)."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        read_bytes = 0

        async def limited() -> Message:
            nonlocal read_bytes
            message = await receive()
            read_bytes += len(message.get("body", b""))
            if read_bytes > BODY_BYTES:
                raise HTTPException(413, f"a body has at most {BODY_BYTES} bytes; a job needs no more than some thousand")
            return message

        await self.app(scope, limited, send)


def document(body: bytes, content_type: str | None, otherwise: str = "YAML as Content-Type: application/yaml") -> Any:
    """The value that a JSON or YAML body holds, or InvalidInput that says where it breaks, and what may be sent `otherwise`."""
    media = (content_type or "application/json").partition(";")[0].strip().lower()
    try:
        text = body.decode("utf-8-sig")
        value = _yaml(text) if media in YAML_TYPES else json.loads(text)
        problems = tuple(_unstorable(value, ()))
    except RecursionError:
        raise InvalidInput.of("", f"nests deeper than {DEEPEST} levels; a job needs no more than 4") from None
    except (OverflowError, ValueError, YAMLError) as error:
        kind = "YAML" if media in YAML_TYPES else f"JSON (send {otherwise})"
        raise InvalidInput.of("", f"the body is not valid {kind}: {' '.join(str(error).split())}") from None
    if problems:
        raise InvalidInput.because(problems)
    return value


def require_known(query: Mapping[str, str], *known: str) -> None:
    """Refuse the parameters of a query that mean nothing, where ignoring them would change the answer."""
    unknown = {name: value for name, value in query.items() if name not in known}
    if unknown:
        said = [{"loc": ("query", name), "msg": f"unknown{nearest(name, [*known])}", "input": value} for name, value in unknown.items()]
        raise RequestValidationError(said)


def _yaml(text: str) -> Any:
    """YAML 1.2, where 2e-3 is a number; of its features those that JSON has too, as the others can cost more than they are worth."""
    if len(text) > YAML_CHARACTERS:
        raise ValueError(f"{len(text)} characters, more than the {YAML_CHARACTERS} taken; send JSON instead")
    depth = 0
    for token in YAML(typ="safe", pure=True).scan(text):
        if isinstance(token, tokens.AliasToken | tokens.TagToken | tokens.DirectiveToken):  # few aliases can be billions of nodes
            raise ValueError("aliases (*name), tags (!name) and directives (%NAME) are not taken; write plain values")
        depth += isinstance(token, OPENING) - isinstance(token, CLOSING)
        if depth > DEEPEST:
            raise RecursionError
    return from_yaml(text)


def _unstorable(value: Any, path: tuple[str, ...]) -> Iterator[Problem]:
    """What JSON in UTF-8 (RFC 7493), or a database, cannot carry: keys but text, half of a surrogate pair, U+0000, integers beyond 2^53."""
    if len(path) > DEEPEST:
        raise RecursionError
    match value:
        case dict():
            for key, each in value.items():
                yield from _unstorable(key, path) if isinstance(key, str) else [no_text(".".join(path), key)]
                yield from _unstorable(each, (*path, str(key)))
        case list():
            for number, each in enumerate(value):
                yield from _unstorable(each, (*path, str(number)))
        case str() if not value.isprintable() and ("\0" in value or re.search("[\ud800-\udfff]", value)):
            yield Problem(".".join(path), "holds U+0000 or half of a surrogate pair; remove the character", value)
        case int() if abs(value) >= LARGEST_INTEGER:
            yield Problem(".".join(path), "is beyond 2^53, which JSON does not carry exactly; give a smaller number", str(value))
