"""The parser of job files.

A job file is a JSON document if its name ends in .json, and a YAML 1.2 document otherwise. (In YAML
1.2, 2e-3 is a number; in YAML 1.1, it is text.) A message about a syntax error names the line and
the column, if the parser reports them. The fields of a job are not validated here, but by
`telescope.studies.registry`.
"""

import json
from pathlib import Path
from typing import Any

from ruamel.yaml.error import MarkedYAMLError, YAMLError

from api.jobs.documents import from_yaml
from telescope.errors import InvalidInput, json_problems

START = "start from the output of `telescope examples quickstart`"


def read_job_file(file: Path) -> Any:
    """Return the document in a job file.

    Raises InvalidInput if the file cannot be read or parsed, or if the document is not a mapping
    that JSON can represent.
    """
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"{file} is not UTF-8 text (see byte {error.start}); save it as UTF-8"
        raise InvalidInput.of("", message) from None
    except OSError as error:
        message = f"cannot read {file}: {error.strerror}; give a readable YAML or JSON file"
        raise InvalidInput.of("", message) from None
    if not text.strip():
        raise InvalidInput.of("", f"{file} is empty; {START}")
    try:
        document = _json(text, file) if file.suffix == ".json" else _yaml(text, file)
        problems = tuple(json_problems(document, "")) if isinstance(document, dict) else ()
    except RecursionError:
        message = f"{file} nests its fields too deeply for a job; {START}"
        raise InvalidInput.of("", message) from None
    if not isinstance(document, dict):
        content = "no value" if document is None else f"a value of type {type(document).__name__}"
        message = f"{file} holds {content}, not `name: value` pairs; {START}"
        raise InvalidInput.of("", message)
    if problems:
        raise InvalidInput.because(problems)
    return document


def _json(text: str, file: Path) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InvalidInput.of("", f"{file} is not JSON: {error.msg} ({place})") from None
    except ValueError as error:  # for example, an integer has thousands of digits
        raise InvalidInput.of("", f"{file} is not JSON: {error}") from None


def _yaml(text: str, file: Path) -> Any:
    try:
        return from_yaml(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        problem = " ".join(str(error.problem or error.context).split())
        raise InvalidInput.of("", f"{file} is not YAML: {problem}{place}") from None
    except YAMLError as error:
        raise InvalidInput.of("", f"{file} is not YAML: {' '.join(str(error).split())}") from None
