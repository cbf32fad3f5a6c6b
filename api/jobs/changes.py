"""Changes of a job's document by a JSON merge patch (RFC 7396).

A document is the mapping that describes a job, and a patch is a mapping with the fields to change.
A value in the patch replaces the value of the same field of the document; a mapping is merged field
by field. Null removes the field from the document, which restores the field's default. All other
fields stay. On the command line, a patch is written as assignments, such as
`limits.max_base_runs=400`.

Some fields of a document are derived from other fields when the job is submitted. If the patch sets
the source of a derived field but not the derived field itself, the old derived value is dropped:

- The hash of the tokens and the size of the vocabulary (the fields `COMPUTED_FIELDS` of `data`) are
  derived from the corpus, the tokenizer and the fraction for validation (the fields `CORPUS` of
  `data`).
- The hash and the sizes of a table (the fields `FROM_TABLE` of `data`) are derived from all other
  fields of `data`.
- The hash of a factory's code, `model.content`, is derived from `model.factory`.
- Fields of `model` that have a preset's values are derived from `model.preset`.
- The hyperparameters in `given` are derived from `from_jobs`, if the document has this field.

`telescope.studies.registry` validates the changed document like any other document.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ruamel.yaml.error import YAMLError

from api.jobs.documents import from_yaml
from telescope.errors import InvalidInput, json_problems
from telescope.studies.telescoping.question.documents import COMPUTED_FIELDS, SWEEP_OVER
from telescope.trials.data import ORIGIN, form
from telescope.trials.presets import without_preset
from telescope.trials.table import FROM_TABLE

CORPUS = {*ORIGIN, "validation_fraction"}  # the fields of `data` that determine the tokens


def patched(document: dict[str, Any], patch: object) -> dict[str, Any]:
    """Return the document with the patch applied.

    If the patch sets the source of a derived field but not the derived field itself, the derived
    field is dropped. The field `sweep_over` lists the architectures or corpora that a job compares.
    If the patch sets one of the fields `CORPUS` of `data` but not `sweep_over`, the derived fields
    of the corpora in `sweep_over` are dropped, too. Raises InvalidInput if the patch is not a
    mapping.
    """
    if not isinstance(patch, dict):
        message = (
            "must be a mapping from the fields to change to their new values, "
            "such as {limits: {max_base_runs: 400}}"
        )
        raise InvalidInput.of("", message, patch)
    new_document: dict[str, Any] = merged(document, patch)
    data, data_patch = new_document.get("data"), patch.get("data")
    if isinstance(data, dict) and isinstance(data_patch, dict):
        outdated = outdated_fields(data, data_patch)
        new_document["data"] = {
            name: value
            for name, value in data.items()
            if name not in outdated or name in data_patch
        }
        sweep = new_document.get(SWEEP_OVER)
        if SWEEP_OVER not in patch and isinstance(sweep, dict) and sweep.get("data"):
            entries = [
                {name: value for name, value in entry.items() if name not in outdated}
                for entry in sweep["data"]
            ]
            new_document[SWEEP_OVER] = sweep | {"data": entries}
    names_jobs = document.get("from_jobs") or patch.get("from_jobs")
    if names_jobs and "from_jobs" in patch and "given" not in patch:
        new_document.pop("given", None)
    model, model_patch = document.get("model"), patch.get("model")
    if isinstance(model, dict) and isinstance(model_patch, dict):
        if "factory" in model_patch and "content" not in model_patch:
            new_document["model"].pop("content", None)  # the hash of the old factory's code
        if "preset" in model_patch:
            new_document["model"] = merged(without_preset(model), model_patch)
    return new_document


def outdated_fields(data: Mapping[str, Any], data_patch: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the derived fields of a `data` section that a patch of this section makes outdated."""
    if form(data) == "table":
        return FROM_TABLE
    return COMPUTED_FIELDS if data_patch.keys() & CORPUS else ()


def merged(target: object, patch: object) -> Any:
    """Return `target` with a merge patch applied (RFC 7396, section 2)."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def patch_of(assignments: Iterable[str]) -> dict[str, Any]:
    """Build a patch from assignments such as `search.lr.high=0.5`.

    The text after = is YAML, and null restores a field's default. Raises InvalidInput if an
    assignment cannot be parsed, if JSON cannot hold its value, or if another assignment sets the
    same field.
    """
    patch: dict[str, Any] = {}
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not (equals and all(path.split("."))):
            message = "must be FIELD=VALUE, such as limits.max_base_runs=400"
            raise InvalidInput.of("--set", message, assignment)
        try:
            value = from_yaml(text)
            problems = tuple(json_problems(value, path))
        except (RecursionError, YAMLError) as error:
            message = f"the value of {path} is not YAML: {' '.join(str(error).split())}"
            raise InvalidInput.of("--set", message, assignment) from None
        if problems:
            raise InvalidInput.because(problems)
        *parents, last = path.split(".")
        inner = patch
        for parent in parents:
            inner = inner.setdefault(parent, {})
            if not isinstance(inner, dict):
                raise contradicts(assignment, parent)
        if last in inner:
            raise contradicts(assignment, path)
        inner[last] = value
    return patch


def contradicts(assignment: str, field: str) -> InvalidInput:
    """The error of an assignment to a field that another assignment sets, too."""
    message = f"another --set also sets {field}, or a field inside it; drop one of the two"
    return InvalidInput.of("--set", message, assignment)
