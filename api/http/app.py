"""How is the HTTP service put together?

`create_app` opens the store, refuses a database at another revision, and joins the routes, the problems that errors become, and the
OpenAPI document. Bodies are read as documents by `api.http.bodies`, so their schema, that of the studies, is entered here.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Annotated, Any, Union

from fastapi import FastAPI
from pydantic import Field, TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from api.http import errors
from api.http.bodies import BodyLimit
from api.http.routes import corpora, export, frontier, health, jobs, judgements, results
from api.http.schemas import NewJudgement
from api.jobs.analyses import Analyses
from api.settings import Settings
from api.store.store import Store
from telescope.studies import registry

EXAMPLE = {
    "kind": "telescope",
    "name": "quickstart",
    "optimizer": "muon",
    "model": {"base_width": 32, "calibration_width": 128, "target_width": 256, "depth": 2, "head_dim": 16},
    "data": {"corpus": "python-stdlib", "tokenizer": "bytes", "context": 64},
    "horizon": {"steps": 120, "batch_tokens": 512},
    "search": {"lr": {"low": 0.002, "high": 0.25, "points": 8}, "weight_decay": {"low": 0.01, "high": 1.0, "points": 3}},
}
SUMMARY = "Hyperparameters for a model too dear to sweep, with interval, verdict and bill."
SWEEP = """width,lr,loss
64,0.02,2.31
64,0.04,2.24
64,0.08,2.29
128,0.02,2.22
128,0.04,2.16
128,0.08,
"""
REFERENCE = "#/components/schemas/{model}"


def create_app(settings: Settings) -> FastAPI:
    """The service; raises Unavailable where its database is away or at another revision."""
    store = Store(settings.database_url)
    store.check_revision()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        store.close()

    app = FastAPI(title="telescope", summary=SUMMARY, version=version("telescope"), lifespan=lifespan)
    app.state.store = store
    app.state.settings = settings
    app.state.analyses = Analyses()
    app.add_middleware(BodyLimit)
    errors.install(app)
    for resource in (jobs, results, judgements, corpora, frontier, export, health):
        app.include_router(resource.router)
    _describe(app.openapi())
    return app


def _describe(document: dict[str, Any]) -> None:
    """Enter what the handlers' signatures cannot say: the schema of bodies that are documents, and of reports and problems."""
    schemas = document["components"]["schemas"]

    def reference(name: str, kind: Any, mode: JsonSchemaMode) -> dict[str, str]:
        schema = TypeAdapter(kind).json_schema(ref_template=REFERENCE, mode=mode)
        schemas.update(schema.pop("$defs", {}) | {name: schema})
        return {"$ref": REFERENCE.format(model=name)}

    sweep: dict[str, dict[str, Any]] = {"application/json": {"schema": reference("NewJudgement", NewJudgement, "validation")}}
    sweep["text/csv"] = {"schema": {"type": "string"}, "examples": {"sweep": {"value": SWEEP}}}
    document["paths"]["/v1/judgements"]["post"]["requestBody"] = {"required": True, "content": sweep}
    reference("Problem", errors.Problem, "serialization")
    result = document["paths"]["/v1/jobs/{job_id}/result"]["get"]["responses"]["200"]["content"]
    reports = tuple(kind.report for kind in registry.KINDS.values())
    result["application/json"]["schema"] = reference("Report", Union[reports], "serialization")  # noqa: UP007 (made at run time)
    forecasts = tuple(kind.preview for kind in registry.KINDS.values())
    forecast = document["paths"]["/v1/jobs:preview"]["post"]["responses"]["200"]["content"]["application/json"]
    forecast["schema"] = reference("Forecast", Union[forecasts], "serialization")  # noqa: UP007 (made at run time)
    kinds: Any = Union[tuple(kind.question for kind in registry.KINDS.values())]  # noqa: UP007 (made at run time)
    study = reference("Study", Annotated[kinds, Field(discriminator="kind")], "validation")
    media = {"schema": study, "examples": {"quickstart": {"value": EXAMPLE}}}
    body = {"required": True, "content": dict.fromkeys(("application/json", "application/yaml"), media)}
    changes = {"schema": {"type": "object"}, "examples": {"wider limits": {"value": {"limits": {"max_base_runs": 400}}}}}
    patch = {"required": False, "content": dict.fromkeys(("application/json", "application/yaml"), changes)}
    document["paths"]["/v1/jobs/{job_id}:clone"]["post"]["requestBody"] = patch
    for path in ("/v1/jobs", "/v1/jobs:preview"):
        document["paths"][path]["post"]["requestBody"] = body
