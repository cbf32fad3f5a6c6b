"""Parts of the OpenAPI document that do not follow from the handlers' signatures.

The signatures do not give the types of the bodies that describe jobs and sweeps, nor the types of
reports and previews. This module adds the schemas of these documents. A job runs one study, and
each study has a kind, such as `compute_time`. The schemas `Study`, `Report` and `Preview` are
unions over the registered kinds, with the discriminator `kind`.

Schema names are short and unique. The types that a kind registers are named after the kind, such as
`ComputeTimeReport`. Any other schema is named after its class. If this name is not unique, the
module's name is put before the class name.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from api.http import errors
from api.http.schemas import NewJudgement
from telescope.studies.kind import Kind

SchemaPart = Literal["question", "report", "preview"]
Schemas = dict[str, Any]  # JSON schemas by name

EXAMPLE = {
    "kind": "telescope",
    "name": "quickstart",
    "optimizer": "muon",
    "model": {
        "base_width": 32,
        "calibration_width": 128,
        "target_width": 256,
        "depth": 2,
        "head_dim": 16,
    },
    "data": {"corpus": "python-stdlib", "tokenizer": "bytes", "context": 64},
    "horizon": {"steps": 120, "batch_tokens": 512},
    "search": {
        "lr": {"low": 0.002, "high": 0.25, "points": 8},
        "weight_decay": {"low": 0.01, "high": 1.0, "points": 3},
    },
}
SWEEP = """width,lr,loss
64,0.02,2.31
64,0.04,2.24
64,0.08,2.29
128,0.02,2.22
128,0.04,2.16
128,0.08,
"""
PREFIX = "#/components/schemas/"
REFERENCE = PREFIX + "{model}"
UNIONS: Mapping[SchemaPart, str] = {"question": "Study", "report": "Report", "preview": "Preview"}
MODES: Mapping[SchemaPart, JsonSchemaMode] = {
    "question": "validation",
    "report": "serialization",
    "preview": "serialization",
}
PARENTS = {"JobDetail": "Job", "TrialWithSpec": "TrialSummary"}  # parent class by child class


def add_schemas(document: dict[str, Any], kinds: Iterable[Kind[Any, Any, Any]]) -> None:
    """Complete FastAPI's document, in place.

    Adds the schemas of bodies, reports, previews and problems, and the descriptions of inherited
    fields.
    """
    schemas = document["components"]["schemas"]
    # In a child's schema, pydantic leaves out the descriptions of inherited fields, so these fields
    # take their schemas from the parent.
    for child, parent in PARENTS.items():
        schemas[child]["properties"] |= schemas[parent]["properties"]
    add_class_schema(schemas, "NewJudgement", NewJudgement, "validation")
    add_class_schema(schemas, "Problem", errors.ProblemDocument, "serialization")
    schemas.update(study_schemas(tuple(kinds), schemas))
    paths = document["paths"]
    set_response_schema(paths["/v1/jobs/{job_id}/result"]["get"], "Report")
    set_response_schema(paths["/v1/jobs:preview"]["post"], "Preview")
    sweep_content: dict[str, dict[str, Any]] = {
        "application/json": {"schema": reference("NewJudgement")},
        "text/csv": {"schema": {"type": "string"}, "examples": {"sweep": {"value": SWEEP}}},
    }
    paths["/v1/judgements"]["post"]["requestBody"] = {"required": True, "content": sweep_content}
    examples = {"quickstart": {"value": EXAMPLE}}
    study_content = either({"schema": reference("Study"), "examples": examples})
    for path in ("/v1/jobs", "/v1/jobs:preview"):
        paths[path]["post"]["requestBody"] = {"required": True, "content": study_content}
    changes = {
        "schema": {"type": "object"},
        "examples": {"wider limits": {"value": {"limits": {"max_base_runs": 400}}}},
    }
    paths["/v1/jobs/{job_id}:clone"]["post"]["requestBody"] = {
        "required": False,
        "content": either(changes),
    }


def reference(name: str) -> dict[str, str]:
    return {"$ref": REFERENCE.format(model=name)}


def set_response_schema(operation: dict[str, Any], name: str) -> None:
    """Set the schema of an operation's response with status 200."""
    operation["responses"]["200"]["content"] = {"application/json": {"schema": reference(name)}}


def either(media: dict[str, Any]) -> dict[str, Any]:
    """Return the OpenAPI content of a body that may be JSON or YAML."""
    return dict.fromkeys(("application/json", "application/yaml"), media)


def add_class_schema(schemas: Schemas, name: str, cls: Any, mode: JsonSchemaMode) -> None:
    """Add the schema of a class under `name`, and the schemas to which this schema refers."""
    schema = TypeAdapter(cls).json_schema(ref_template=REFERENCE, mode=mode)
    definitions = schema.pop("$defs", {})
    # Client generators name classes by the title.
    schemas.update(definitions | {name: schema | {"title": name}})


def study_schemas(kinds: tuple[Kind[Any, Any, Any], ...], existing: Schemas) -> Schemas:
    """Return the schemas of each kind's question, report and preview, and those of the unions.

    A question is the document that a user submits. `Study` is the union of the questions of all
    kinds, `Report` that of the reports, and `Preview` that of the previews. `existing` holds the
    schemas that are in the OpenAPI document already.
    """
    inputs = [
        ((kind.name, part), mode, TypeAdapter(getattr(kind, part)))
        for kind in kinds
        for part, mode in MODES.items()
    ]
    references, schema = TypeAdapter.json_schemas(inputs, ref_template=REFERENCE)
    definitions: Schemas = schema["$defs"]
    part_of_schema = {
        reference["$ref"].removeprefix(PREFIX): kind_and_part
        for (kind_and_part, _), reference in references.items()
    }
    for name, (kind, part) in part_of_schema.items():
        if part != "question":  # the service adds `kind` to reports and previews
            schema = definitions[name]
            kind_schema = {"kind": {"const": kind, "title": "Kind", "type": "string"}}
            schema["properties"] = kind_schema | schema["properties"]
            schema["required"] = ["kind", *schema.get("required", ())]
    titles = {name: title(*kind_and_part) for name, kind_and_part in part_of_schema.items()}
    names = short_names(definitions, titles, existing)
    final_schemas = {
        names[name]: renamed_references(schema, names) for name, schema in definitions.items()
    }
    for name, schema in final_schemas.items():
        schema["title"] = name  # client generators name classes by the title
    return final_schemas | {union: union_over(kinds, part) for part, union in UNIONS.items()}


def title(kind: str, part: SchemaPart) -> str:
    """Return the schema name of a kind's question, report or preview, such as ComputeTimeReport."""
    return "".join(word.capitalize() for word in (*kind.split("_"), part))


def union_over(kinds: Iterable[Kind[Any, Any, Any]], part: SchemaPart) -> dict[str, Any]:
    references = {kind.name: REFERENCE.format(model=title(kind.name, part)) for kind in kinds}
    discriminator = {"propertyName": "kind", "mapping": references}
    return {
        "oneOf": [{"$ref": target} for target in references.values()],
        "discriminator": discriminator,
        "title": UNIONS[part],
    }


def short_names(
    definitions: Schemas, titles: Mapping[str, str], existing: Schemas
) -> dict[str, str]:
    """Map pydantic's schema names to the names in the OpenAPI document.

    If several classes have the same name, pydantic puts the module before the name. `titles` maps
    pydantic's name of each question, report and preview to its name in the OpenAPI document.
    `existing` holds the schemas that are in the OpenAPI document already.
    """
    class_names = {name: titles.get(name, name.rpartition("__")[2]) for name in definitions}
    count = Counter((*class_names.values(), *UNIONS.values()))

    def is_free(name: str) -> bool:
        """True if no union and no other schema has the short name of this class."""
        schema_of_name = existing.get(class_names[name], definitions[name])
        return count[class_names[name]] == 1 and schema_of_name == definitions[name]

    return {
        name: class_names[name] if name in titles or is_free(name) else qualified(name)
        for name in definitions
    }


def qualified(name: str) -> str:
    """Shorten one of pydantic's names that contain the module.

    For example, telescope__studies__compute_time__rows__A becomes ComputeTimeRowsA.
    """
    *modules, class_name = name.removeprefix("telescope__studies__").split("__")
    return (
        "".join(word.capitalize() for module in modules for word in module.split("_")) + class_name
    )


def renamed_references(schema: Any, names: Mapping[str, str]) -> Any:
    """Return a schema in which all references, also those in discriminators, use the new names."""
    if isinstance(schema, dict):
        return {key: renamed_references(value, names) for key, value in schema.items()}
    if isinstance(schema, list):
        return [renamed_references(value, names) for value in schema]
    if isinstance(schema, str) and schema.startswith(PREFIX):
        return REFERENCE.format(model=names[schema.removeprefix(PREFIX)])
    return schema
