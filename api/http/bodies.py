"""Request bodies, parsed to plain JSON values that every database can store.

`telescope.studies.registry` then validates the fields of a job, and `api.jobs.admission` the files
and code that the job names.

Parts: `BodyLimit`, a middleware · `parse_body` · `require_known_parameters`.
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
YAML_CHARACTERS = 1 << 14  # the parser, in pure Python, takes about half a second for this number
MAX_NESTING = 32  # lists and mappings around a value
LARGEST_INTEGER = 2**53
YAML_ONLY_TOKENS = (tokens.AnchorToken, tokens.AliasToken, tokens.TagToken, tokens.DirectiveToken)
OPENING_TOKENS = (
    tokens.FlowSequenceStartToken,
    tokens.FlowMappingStartToken,
    tokens.BlockSequenceStartToken,
    tokens.BlockMappingStartToken,
)
CLOSING_TOKENS = (tokens.FlowSequenceEndToken, tokens.FlowMappingEndToken, tokens.BlockEndToken)


class BodyLimit:
    """Middleware that stops reading a body once it exceeds `BODY_BYTES`.

    The error becomes a problem document; the framework's own limit would answer in plain text.
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
                detail = f"the body exceeds {BODY_BYTES} bytes; a job needs only a few thousand"
                raise HTTPException(413, detail)
            return message

        await self.app(scope, receive_limited, send)


def parse_body(
    body: bytes,
    content_type: str | None,
    alternative: str = "YAML as Content-Type: application/yaml",
) -> Any:
    """Parse a JSON or YAML body; a message about invalid JSON also suggests `alternative`.

    Raises InvalidInput with the reason why the body cannot be parsed, or with a problem for each
    value that cannot be stored.
    """
    media = (content_type or "application/json").partition(";")[0].strip().lower()
    try:
        text = body.decode("utf-8-sig")
        value = _yaml(text) if media in YAML_TYPES else json.loads(text)
        problems = tuple(_unstorable(value, ()))
    except RecursionError:
        message = f"has more than {MAX_NESTING} nested lists and mappings; a job needs at most 4"
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
    """Raise RequestValidationError for query parameters other than `names`.

    Ignoring a mistyped filter would change the answer.
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
    """Parse YAML 1.2 (in which 2e-3 is a number), restricted to the features that JSON has.

    Aliases can expand to billions of nodes; tags and directives are of no use in a job. Raises
    ValueError or YAMLError for text that is too long or not supported, and RecursionError if it is
    nested too deeply.
    """
    if len(text) > YAML_CHARACTERS:
        limit = f"{len(text)} characters, more than the limit of {YAML_CHARACTERS}"
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
    """Yield a problem for each value that JSON in UTF-8 (RFC 7493) or a database cannot hold.

    Such values are keys that are not strings, text with a lone surrogate or U+0000, and integers
    whose absolute value is 2^53 or more. Raises RecursionError if the value is nested too deeply.
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
        case int() if abs(value) >= LARGEST_INTEGER:
            message = "is not between -2^53 and 2^53, so JSON may change it; give a smaller number"
            yield Problem(".".join(path), message, str(value))
