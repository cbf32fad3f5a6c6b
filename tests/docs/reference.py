"""Write the references of `docs/reference/`: `python -m tests.docs.reference`.

`jobs.md` lists every field of every kind's job, from its JSON schema; `settings.md` lists every
environment variable. Meanings are the descriptions of the fields in the code. Examples of job
fields are taken from the documents in `jobs.yaml`, each of which is a valid job.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from ruamel.yaml import YAML

from api.settings import Settings
from telescope.studies.registry import KINDS

FOLDER = Path(__file__).parents[2] / "docs" / "reference"
DOCUMENTS = list(YAML(typ="safe").load_all(Path(__file__).with_name("jobs.yaml").read_text()))

HEADER = "| field | meaning | values | default | example |\n|---|---|---|---|---|\n"
LARGEST = 2**31 - 1
TITLES = {
    "telescope": "Telescope jobs",
    "compute_time": "Compute-time jobs",
    "grokking": "Grokking jobs",
}
UNITS = {
    r"(.*_)?tokens|context|tokens|low_tokens": "tokens",
    r"max_seconds|poll_seconds": "seconds",
    r"max_flops": "FLOPs",
    r".*flops_per_second": "FLOP/s",
    r"bandwidth_bytes_per_second": "bytes/s",
    r"target_losses|stop_below_loss": "nats per token",
    r"steps|.*_every": "steps",
    r"(target_)?depth": "blocks",
    r"(base_|calibration_|target_)?width": "entries of the residual stream",
    r"head_dim|rotary_dim": "entries",
    r"newton_schulz_steps": "iterations",
    r"max_trials|max_parallel|trials": "trials",
    r"max_base_runs": "runs at the base width",
    r"seeds": "runs",
    r"(evaluate_)?epochs": "epochs",
    r"batch_rows|(train|held_out)_rows": "rows",
    r"sustained_evaluations": "evaluations",
    r"warmup_steps": "steps",
    r"bits": "bits",
    r"query_heads_per_kv": "heads",
    r"max_attempts": "attempts",
    r"doublings": "doublings",
    r"extensions": "extensions",
}
"""Units by the name of a field; other numbers have none, or their meaning states it."""

# Settings

DEFAULTS = {
    "database_url": "SQLite in `TELESCOPE_HOME`",
    "ray_address": "`RAY_ADDRESS`",
    "checkpoint_dir": "`TELESCOPE_HOME/checkpoints`",
    "workers": "as many as fit",
    "gpus_per_worker": "1 if there are GPUs",
}
SETTINGS = {
    "database_url": "postgresql://telescope:secret@db/telescope",
    "executor": "local",
    "tune_loggers": "tensorboard,mlflow",
    "ray_address": "ray-head:6379",
    "workers": "4",
    "gpus_per_worker": "0.5",
    "checkpoint_dir": "/mnt/shared/checkpoints",
    "shared_storage": "true",
    "data_roots": "/data/texts:/data/tokens",
    "factories": "mymodels:*",
    "host": "0.0.0.0",
    "port": "8080",
    "compile": "never",
    "max_attempts": "5",
    "poll_seconds": "0.5",
}
"""An example of each setting, as its environment variable holds it."""

OTHERS = (
    (
        "TELESCOPE_HOME",
        "Folder of the SQLite database, checkpoints, token caches and registered corpora.",
        "path",
        "`~/.telescope`",
        "/mnt/shared/telescope",
    ),
    (
        "TELESCOPE_URL",
        "Service that `submit`, `watch`, `result` and similar commands send requests to.",
        "URL",
        "this machine's service",
        "http://10.0.0.7:8765",
    ),
    (
        "TELESCOPE_FACTORY_PATH",
        "Folders, separated as in PATH, in which factories of users' models are looked for.",
        "paths",
        "the current folder",
        "/opt/models",
    ),
    (
        "TELESCOPE_CHECKPOINT_SECONDS",
        "Seconds of training between two checkpoints of a trial.",
        "number; seconds",
        "`30`",
        "300",
    ),
    (
        "TELESCOPE_DEBUG",
        "Any value: commands print the traceback of an unexpected error.",
        "text",
        "none",
        "1",
    ),
)
"""Variables that are not fields of `Settings`."""


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text)


def pages() -> dict[str, str]:
    """The pages by their names."""
    return {"jobs.md": jobs_page(), "settings.md": settings_page()}


# Jobs


@dataclass(frozen=True)
class Block:
    """A block of fields, and the places of a job that hold such a block."""

    kind: str
    schema: Mapping[str, Any]
    paths: tuple[str, ...]

    @property
    def title(self) -> str:
        if self.paths == ("",):
            return f"{TITLES.get(self.kind, self.kind)}"
        more = " and others" if len(self.paths) > 2 else ""
        named = ", ".join(f"`{path}`" for path in self.paths[: 1 if more else 2])
        family = self.schema["properties"].get("family", {}).get("const")
        own = f", family `{family}`" if family and self.siblings else ""
        return f"{self.kind}: {named}{more}{own}"

    siblings: bool = False  # several blocks have the same place

    @property
    def anchor(self) -> str:
        return slug(self.title)


def slug(title: str) -> str:
    """The anchor of a heading."""
    return re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", title.replace("`", "")).strip().lower())


def blocks(kind: str) -> dict[str, Block]:
    """The blocks of a kind's jobs by the name of their schema, in the order of the document; the
    name of the job itself is empty."""
    schema = TypeAdapter(KINDS[kind].question).json_schema()
    definitions = {"": schema, **schema.get("$defs", {})}
    places: dict[str, list[str]] = {"": [""]}

    def visit(name: str, path: str) -> None:
        for field, value in definitions[name]["properties"].items():
            inner = f"{path}.{field}" if path else field
            for target in references(value):
                if inner not in places.setdefault(target, []):
                    places[target].append(inner)
                    visit(target, inner)

    visit("", "")
    shared = [tuple(paths) for paths in places.values()]
    return {
        name: Block(kind, definitions[name], tuple(paths), siblings=shared.count(tuple(paths)) > 1)
        for name, paths in places.items()
    }


def references(schema: Any) -> Iterator[str]:
    """Names of the schemas that a schema refers to."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            yield schema["$ref"].rpartition("/")[2]
        for key, value in schema.items():
            if key not in ("properties", "discriminator"):
                yield from references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from references(value)


def fields() -> Iterator[tuple[str, str, str, Mapping[str, Any]]]:
    """Every field of every block: kind, name of the block's schema, name, schema."""
    for kind in KINDS:
        for name, block in blocks(kind).items():
            for field, schema in block.schema["properties"].items():
                yield kind, name, field, schema


def jobs_page() -> str:
    text = """# Job reference

<!-- Written by `python -m tests.docs.reference`; do not edit. -->

Every field of a job, block by block. A job is a YAML or JSON document; `kind` chooses between
[telescope jobs](#telescope-jobs), [compute-time jobs](#compute-time-jobs) and
[grokking jobs](#grokking-jobs). An unknown field is refused. A field whose default is *required*
must be given wherever its block is given. Examples are taken from jobs that are valid as a whole;
an example alone may need other fields beside it.

[Jobs](../jobs.md), [Which optimizer, which batch size](../compute-time.md) and
[Which optimizer generalises sooner](../grokking.md) explain the kinds.
"""
    for kind in KINDS:
        for block in blocks(kind).values():
            level = "##" if block.paths == ("",) else "###"
            text += f"\n{level} {block.title}\n\n{paragraph(block.schema.get('description', ''))}\n"
            if len(block.paths) > 2:
                text += f"\nUsed by {', '.join(f'`{path}`' for path in block.paths)}.\n"
            text += (
                "\n"
                + HEADER
                + "".join(row(kind, block, field) for field in block.schema["properties"])
            )
    return text


def row(kind: str, block: Block, field: str) -> str:
    schema = block.schema["properties"][field]
    needed = field in block.schema.get("required", ())
    cells = (
        f"`{field}`",
        cell(schema["description"]),
        values(kind, field, schema),
        "*required*" if needed else default(schema),
        code(inline(example(kind, block, field))),
    )
    return f"| {' | '.join(cells)} |\n"


def values(kind: str, field: str, schema: Mapping[str, Any]) -> str:
    """The values that a field accepts, in words, with their unit."""
    unit = next((unit for pattern, unit in UNITS.items() if re.fullmatch(pattern, field)), "")
    words = in_words(kind, schema)
    numeric = any(word in words for word in ("integer", "number"))
    return f"{words}; {unit}" if unit and numeric else words


def in_words(kind: str, schema: Mapping[str, Any]) -> str:
    match schema:
        case {"$ref": target}:
            block = blocks(kind)[target.rpartition("/")[2]]
            return f"[block](#{block.anchor})"
        case {"anyOf": branches} | {"oneOf": branches}:
            return " or ".join(
                dict.fromkeys(in_words(kind, one) for one in branches if one.get("type") != "null")
            )
        case {"const": only}:
            return code(inline(only))
        case {"enum": choices}:
            return ", ".join(code(inline(one)) for one in choices)
        case {"type": "boolean"}:
            return "`true`, `false`"
        case {"type": "array", "items": items}:
            least = f", at least {schema['minItems']}" if schema.get("minItems") else ""
            return f"list of {in_words(kind, items)}{least}"
        case {"type": "object", "additionalProperties": dict(inner)}:
            return f"mapping of text to {in_words(kind, inner)}"
        case {"type": "string", "format": "path"}:
            return "path"
        case {"type": "string"}:
            return f"text `{schema['pattern']}`" if "pattern" in schema else "text"
        case {"type": "integer" | "number" as numeric}:
            return f"{numeric}{bounds(schema)}"
    raise AssertionError(schema)


def bounds(schema: Mapping[str, Any]) -> str:
    """The range of a number."""
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        words = [f"{plain(low)} to {plain(high)}"]
    else:
        pairs = (
            ("minimum", "at least"),
            ("exclusiveMinimum", "above"),
            ("maximum", "at most"),
            ("exclusiveMaximum", "below"),
        )
        words = [f"{word} {plain(schema[key])}" for key, word in pairs if key in schema]
    words += [f"multiple of {schema['multipleOf']}"] if "multipleOf" in schema else []
    return f", {', '.join(words)}" if words else ""


def plain(number: float) -> str:
    return "2^31 - 1" if number == LARGEST else f"{number:,.12g}"


def default(schema: Mapping[str, Any]) -> str:
    if "default" not in schema:
        return "the block's"
    value = schema["default"]
    return "none" if value in (None, "", [], {}) else code(inline(value))


def example(kind: str, block: Block, field: str) -> Any:
    """A value of the field in `jobs.yaml`: the first, or the shortest of values that are blocks.

    Raises LookupError if no job has the field.
    """
    only = block.schema["properties"].get("family", {}).get("const") if block.siblings else None
    given = [
        holder[field]
        for document in DOCUMENTS
        if document["kind"] == kind
        for path in block.paths
        for holder in at(document, path.split(".") if path else [])
        if isinstance(holder, dict)
        and field in holder
        and only in (None, holder.get("family", "transformer"))
    ]
    if not given:
        raise LookupError(f"{kind}: no document of jobs.yaml sets {block.paths[0]}.{field}")
    return (
        min(given, key=lambda value: len(inline(value)))
        if isinstance(given[0], dict | list)
        else given[0]
    )


def at(value: Any, names: list[str]) -> Iterator[Any]:
    """The values at a path of a document, in every entry of its lists."""
    if isinstance(value, list):
        for one in value:
            yield from at(one, names)
    elif not names:
        yield value
    elif isinstance(value, dict) and names[0] in value:
        yield from at(value[names[0]], names[1:])


def inline(value: Any) -> str:
    """A value as YAML on a single line."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case dict():
            return (
                "{" + ", ".join(f"{quoted(key)}: {inline(one)}" for key, one in value.items()) + "}"
            )
        case list() | tuple():
            return "[" + ", ".join(inline(one) for one in value) + "]"
        case float():
            return f"{value:g}"
        case str():
            return quoted(value)
    return str(value)


def quoted(text: str) -> str:
    return f'"{text}"' if not text or text.startswith("*") else text


def code(text: str) -> str:
    return f"`{text}`" if text else ""


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("*.", "\\*.")


def paragraph(text: str) -> str:
    return "\n".join(line.strip() for line in text.splitlines())


# Settings


def settings_page() -> str:
    text = """# Settings reference

<!-- Written by `python -m tests.docs.reference`; do not edit. -->

Settings of an installation are environment variables. They cover everything that is not part of a
job; the defaults suit a laptop. [Operations](../operations.md) shows them at work.

| variable | meaning | values | default | example |
|---|---|---|---|---|
"""
    schema = Settings.model_json_schema()
    rows = list(OTHERS)
    for name, one in schema["properties"].items():
        standard = DEFAULTS.get(name) or default(one)
        rows.append(
            (
                f"TELESCOPE_{name.upper()}",
                cell(one["description"]),
                values("", name, one),
                standard,
                SETTINGS[name],
            )
        )
    lines = (
        f"| `{name}` | {meaning} | {accepted} | {usual} | `{given}` |\n"
        for name, meaning, accepted, usual, given in rows
    )
    return text + "".join(lines)


if __name__ == "__main__":
    main()
