"""Changes of a study's document, by a JSON merge patch (RFC 7396).

Fields in the patch replace those of the document, null restores a field's default, all other fields
stay. Exception: values that came from the corpus or the preset are dropped where the patch names
another one. On the command line a patch is written as assignments, `limits.max_base_runs=400`.
`telescope.studies.registry` validates the changed document like any other.
"""

from collections.abc import Iterable
from typing import Any

from ruamel.yaml.error import YAMLError

from api.jobs.documents import from_yaml
from telescope.errors import InvalidInput, json_problems
from telescope.studies.telescoping.question.documents import FIELD, FROM_TEXT
from telescope.trials.data import ORIGIN
from telescope.trials.presets import without_preset


def patched(document: dict[str, Any], patch: object) -> dict[str, Any]:
    """Return the document with the patch applied.

    Values derived from the data or the preset are dropped where those change, to be derived again.
    """
    if not isinstance(patch, dict):
        raise InvalidInput.of(
            "",
            "must map the fields to change to values, such as {limits: {max_base_runs: 400}}",
            patch,
        )
    changed: dict[str, Any] = merged(document, patch)
    data, new = changed.get("data"), patch.get("data")
    of_data = {*ORIGIN, "validation_fraction"}
    if isinstance(data, dict) and isinstance(new, dict) and new.keys() & of_data:
        changed["data"] = {
            name: value for name, value in data.items() if name not in FROM_TEXT or name in new
        }
        sweep = changed.get(FIELD)
        if FIELD not in patch and isinstance(sweep, dict) and sweep.get("data"):
            blocks = [
                {name: value for name, value in block.items() if name not in FROM_TEXT}
                for block in sweep["data"]
            ]
            changed[FIELD] = sweep | {"data": blocks}
    model, new = document.get("model"), patch.get("model")
    if isinstance(model, dict) and isinstance(new, dict):
        if "factory" in new and "content" not in new:
            changed["model"].pop("content", None)  # the digest of other code
        if "preset" in new:
            changed["model"] = merged(without_preset(model), new)
    return changed


def merged(target: object, patch: object) -> Any:
    """Apply a merge patch (RFC 7396, section 2)."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        result.pop(name, None) if value is None else result.update(
            {name: merged(result.get(name), value)}
        )
    return result


def assigned(words: Iterable[str]) -> dict[str, Any]:
    """Build a patch from assignments such as `search.lr.high=0.5`.

    Values are YAML; null restores a field's default.
    """
    patch: dict[str, Any] = {}
    for word in words:
        path, equals, text = word.partition("=")
        if not (equals and all(path.split("."))):
            raise InvalidInput.of(
                "--set", "must be FIELD=VALUE, such as limits.max_base_runs=400", word
            )
        try:
            value = from_yaml(text)
            problems = tuple(json_problems(value, path))
        except (RecursionError, YAMLError) as error:
            message = f"the value of {path} is not YAML: {' '.join(str(error).split())}"
            raise InvalidInput.of("--set", message, word) from None
        if problems:
            raise InvalidInput.because(problems)
        *parents, last = path.split(".")
        inner = patch
        for parent in parents:
            inner = inner.setdefault(parent, {})
            if not isinstance(inner, dict):
                raise InvalidInput.of(
                    "--set",
                    f"{parent} is given both as a value and by its fields; give only one",
                    word,
                )
        inner[last] = value
    return patch
