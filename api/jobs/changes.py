"""How does one study's document become another's?

By a JSON merge patch (RFC 7396): what it gives replaces, what it sets to null goes back to its default, all else stays, but for what the
study had from its text or from its preset where it gets another one. At a terminal the same is said by assignments,
`limits.max_base_runs=400`. What comes out is judged by `telescope.studies.registry` like any document.
"""

from collections.abc import Iterable
from typing import Any

from ruamel.yaml.error import YAMLError

from api.jobs.documents import from_yaml
from telescope.errors import InvalidInput, not_plain
from telescope.studies.telescoping.question.documents import FIELD, FOUND
from telescope.trials.data import ORIGIN
from telescope.trials.presets import without_preset


def patched(document: dict[str, Any], patch: object) -> dict[str, Any]:
    """The document with the patch's changes; other data are looked at anew, and another preset fills in anew."""
    if not isinstance(patch, dict):
        raise InvalidInput.of("", "must be a mapping of the fields to change, such as {limits: {max_base_runs: 400}}", patch)
    changed: dict[str, Any] = merged(document, patch)
    data, asked = changed.get("data"), patch.get("data")
    if isinstance(data, dict) and isinstance(asked, dict) and asked.keys() & {*ORIGIN, "validation_fraction"}:
        changed["data"] = {name: value for name, value in data.items() if name not in FOUND or name in asked}
        sweep = changed.get(FIELD)
        if FIELD not in patch and isinstance(sweep, dict) and sweep.get("data"):
            anew = [{name: value for name, value in one.items() if name not in FOUND} for one in sweep["data"]]
            changed[FIELD] = sweep | {"data": anew}
    model, asked = document.get("model"), patch.get("model")
    if isinstance(model, dict) and isinstance(asked, dict) and "factory" in asked and "content" not in asked:
        changed["model"].pop("content", None)  # of other code
    if isinstance(model, dict) and isinstance(asked, dict) and "preset" in asked:
        changed["model"] = merged(without_preset(model), asked)
    return changed


def merged(target: object, patch: object) -> Any:
    """RFC 7396, section 2."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        result.pop(name, None) if value is None else result.update({name: merged(result.get(name), value)})
    return result


def assigned(words: Iterable[str]) -> dict[str, Any]:
    """The patch that assignments such as `search.lr.high=0.5` spell; values are YAML, so null is a field's default."""
    patch: dict[str, Any] = {}
    for word in words:
        path, equals, text = word.partition("=")
        if not (equals and all(path.split("."))):
            raise InvalidInput.of("--set", "must be FIELD=VALUE, such as limits.max_base_runs=400", word)
        try:
            value = from_yaml(text)
            unfit = tuple(not_plain(value, path))
        except (RecursionError, YAMLError) as error:
            raise InvalidInput.of("--set", f"the value of {path} is not YAML: {' '.join(str(error).split())}", word) from None
        if unfit:
            raise InvalidInput.because(unfit)
        *parents, last = path.split(".")
        inner = patch
        for parent in parents:
            inner = inner.setdefault(parent, {})
            if not isinstance(inner, dict):
                raise InvalidInput.of("--set", f"{parent} is given as a whole and in part; give it once", word)
        inner[last] = value
    return patch
