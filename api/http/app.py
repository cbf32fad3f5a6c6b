"""The HTTP service as an ASGI application.

`create_app` opens the store, which is the interface to the database, and checks that the database
has the schema revision that this version of telescope needs. It then assembles the routes, the
error handlers and the OpenAPI document (`api.http.openapi`).
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from api.http import errors
from api.http.bodies import BodyLimit
from api.http.openapi import add_schemas
from api.http.routes import corpora, export, frontier, grokking, health, jobs, judgements, results
from api.jobs.analyses import Analyses
from api.settings import Settings
from api.store.store import Store
from telescope.studies import registry

SUMMARY = "Hyperparameters for a model too expensive to sweep, with interval, verdict and cost."


def create_app(settings: Settings) -> FastAPI:
    """Create the application.

    Raises Unavailable if the database is unreachable, or if its schema is not at the revision that
    this version of telescope needs.
    """
    store = Store(settings.database_url)
    try:
        store.check_revision()
    except BaseException:
        store.close()
        raise

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        store.close()

    app = FastAPI(
        title="telescope", summary=SUMMARY, version=version("telescope"), lifespan=lifespan
    )
    app.state.store = store
    app.state.settings = settings
    app.state.analyses = Analyses()
    app.add_middleware(BodyLimit)
    errors.install(app)
    for resource in (jobs, results, judgements, corpora, frontier, grokking, export, health):
        app.include_router(resource.router)
    add_schemas(app.openapi(), registry.KINDS.values())
    return app
