"""How does a job's file become a document?

YAML 1.2 (where 2e-3 is a number) or, by its name, JSON; what breaks off is told with line and column. What the document says is
judged by `telescope.studies.registry`.
"""

import json
from pathlib import Path
from typing import Any

from ruamel.yaml.error import MarkedYAMLError, YAMLError

from api.jobs.documents import from_yaml
from telescope.errors import InvalidInput, not_plain


def read(file: Path) -> Any:
    """The document in a file, or InvalidInput that says where it breaks."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput.of("", f"{file} is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except OSError as error:
        raise InvalidInput.of("", f"cannot read {file}: {error.strerror}; give the path of a YAML or JSON file") from None
    if not text.strip():
        raise InvalidInput.of("", f"{file} is empty; begin with examples/quickstart.yaml")
    try:
        document = _json(text, file) if file.suffix == ".json" else _yaml(text, file)
        unfit = tuple(not_plain(document, "")) if isinstance(document, dict) else ()
    except RecursionError:
        raise InvalidInput.of("", f"{file} nests its fields too deeply for a job; begin with examples/quickstart.yaml") from None
    if not isinstance(document, dict):
        kind = "nothing but comments" if document is None else f"a {type(document).__name__}"
        raise InvalidInput.of("", f"{file} holds {kind}, not `name: value` pairs; begin with examples/quickstart.yaml")
    if unfit:
        raise InvalidInput.because(unfit)
    return document


def _json(text: str, file: Path) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidInput.of("", f"{file} is not JSON: line {error.lineno}, column {error.colno}: {error.msg}") from None
    except ValueError as error:  # an integer of thousands of digits
        raise InvalidInput.of("", f"{file} is not JSON: {error}") from None


def _yaml(text: str, file: Path) -> Any:
    try:
        return from_yaml(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        said = " ".join(str(error.problem or error.context).split())
        raise InvalidInput.of("", f"{file} is not YAML: {where}{said}") from None
    except YAMLError as error:
        raise InvalidInput.of("", f"{file} is not YAML: {' '.join(str(error).split())}") from None
