"""The parser of request bodies, which are JSON or YAML.

This module checks the size and the syntax of a body, and that its keys, texts and integers can be
stored. Afterwards `telescope.studies.registry` validates the fields of a job, and
`api.jobs.admission` checks whether the job may use the files and the code that it names.

Parts: `BodyLimit`, a middleware that refuses long bodies · `parse_body`, the parser ·
`require_known_parameters`, a check of the parameters in the query.
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
from telescope.errors import InvalidInput, Problem, closest_name_hint, key_problem

YAML_TYPES = frozenset({"application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml"})
BODY_BYTES = 1 << 20
YAML_CHARACTERS = 1 << 14  # the YAML parser needs about half a second for a text of this length
MAX_NESTING = 32  # lists and mappings may be nested this deep
INTEGER_LIMIT = 2**53  # the absolute value of an integer must be below this limit
YAML_ONLY_TOKENS = (tokens.AnchorToken, tokens.AliasToken, tokens.TagToken, tokens.DirectiveToken)
OPENING_TOKENS = (
    tokens.FlowSequenceStartToken,
    tokens.FlowMappingStartToken,
    tokens.BlockSequenceStartToken,
    tokens.BlockMappingStartToken,
)
CLOSING_TOKENS = (tokens.FlowSequenceEndToken, tokens.FlowMappingEndToken, tokens.BlockEndToken)


class BodyLimit:
    """Middleware that stops reading a body once the body exceeds `BODY_BYTES`.

    The middleware then raises an HTTPException with status 413. `api.http.errors` turns this
    exception into a problem document.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        read_bytes = 0

        async def receive_limited() -> Message:
            nonlocal read_bytes
            message = await receive()
            read_bytes += len(message.get("body", b""))
            if read_bytes > BODY_BYTES:
                detail = f"the body has more than {BODY_BYTES} bytes; send a shorter body"
                raise HTTPException(413, detail)
            return message

        await self.app(scope, receive_limited, send)


def parse_body(
    body: bytes,
    content_type: str | None,
    alternative: str = "YAML as Content-Type: application/yaml",
) -> Any:
    """Parse a body as YAML if its content type is one of `YAML_TYPES`, and otherwise as JSON.

    Raises InvalidInput if the body cannot be parsed. If the format is JSON, the message suggests
    `alternative`, another format that the route accepts. Also raises InvalidInput if lists and
    mappings are nested too deeply. If some keys or values cannot be stored (`_unstorable`), raises
    InvalidInput with one problem for each of them.
    """
    media = (content_type or "application/json").partition(";")[0].strip().lower()
    try:
        text = body.decode("utf-8-sig")
        value = _yaml(text) if media in YAML_TYPES else json.loads(text)
        problems = tuple(_unstorable(value, ()))
    except RecursionError:
        limit = f"lists and mappings are nested more than {MAX_NESTING} deep"
        message = f"{limit}; nest them less deeply"
        raise InvalidInput.of("", message) from None
    except (OverflowError, ValueError, YAMLError) as error:
        reason = " ".join(str(error).split())
        message = f"the body is not valid YAML: {reason}"
        if media not in YAML_TYPES:
            message = f"the body is not valid JSON: {reason}; send JSON, or {alternative}"
        raise InvalidInput.of("", message) from None
    if problems:
        raise InvalidInput.because(problems)
    return value


def require_known_parameters(query: Mapping[str, str], *names: str) -> None:
    """Raise RequestValidationError if the query has parameters other than `names`.

    If a mistyped filter were ignored, the client would get the answer to another question.
    """
    unknown = {name: value for name, value in query.items() if name not in names}
    if unknown:
        raise RequestValidationError(
            [
                {
                    "loc": ("query", name),
                    "msg": f"unknown{closest_name_hint(name, names)}",
                    "input": value,
                }
                for name, value in unknown.items()
            ]
        )


def _yaml(text: str) -> Any:
    """Parse YAML 1.2, in which 2e-3 is a number.

    Anchors, aliases, tags and directives are refused: a short text with aliases can expand to
    billions of values, and a job needs neither tags nor directives. Raises ValueError if the text
    is too long, YAMLError if it is not valid or has a refused feature, and RecursionError if its
    lists and mappings are nested more than `MAX_NESTING` deep.
    """
    if len(text) > YAML_CHARACTERS:
        limit = f"it has {len(text)} characters, more than the limit of {YAML_CHARACTERS}"
        raise ValueError(f"{limit}; send JSON instead")
    depth = 0
    for token in YAML(typ="safe", pure=True).scan(text):
        if isinstance(token, YAML_ONLY_TOKENS):
            features = "anchors (&name), aliases (*name), tags (!name) and directives (%NAME)"
            raise YAMLError(f"{features} are not supported; write plain values")
        depth += isinstance(token, OPENING_TOKENS) - isinstance(token, CLOSING_TOKENS)
        if depth > MAX_NESTING:
            raise RecursionError
    return from_yaml(text)


def _unstorable(value: Any, path: tuple[str, ...]) -> Iterator[Problem]:
    """Yield a problem for each key or value that JSON or a database cannot store.

    There are three sorts: keys that are not strings, text that contains U+0000 or a lone surrogate
    (half of a UTF-16 pair), and integers whose absolute value is 2^53 or more. A reader of JSON may
    round such integers (RFC 7493). `path` holds the keys and indices that lead to `value`. Raises
    RecursionError if lists and mappings are nested more than `MAX_NESTING` deep.
    """
    if len(path) > MAX_NESTING:
        raise RecursionError
    match value:
        case dict():
            for key, item in value.items():
                if isinstance(key, str):
                    yield from _unstorable(key, path)
                else:
                    yield key_problem(".".join(path), key)
                yield from _unstorable(item, (*path, str(key)))
        case list():
            for index, item in enumerate(value):
                yield from _unstorable(item, (*path, str(index)))
        case str() if not value.isprintable() and re.search("[\0\ud800-\udfff]", value):
            message = "contains U+0000 or a lone surrogate; remove the character"
            yield Problem(".".join(path), message, value)
        case int() if abs(value) >= INTEGER_LIMIT:
            message = "JSON is exact only between -2^53 and 2^53; give a number within this range"
            yield Problem(".".join(path), message, str(value))
