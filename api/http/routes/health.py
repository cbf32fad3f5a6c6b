"""Health routes: whether the process is alive, and whether the service is ready."""

import asyncio

from fastapi import APIRouter

from api.http import schemas
from api.http.dependencies import CurrentStore
from api.http.errors import error_responses
from api.store.engines import CoordinatorLock
from telescope.errors import Problem, TelescopeError, Unavailable

READY_SECONDS = 2.0
router = APIRouter(tags=["health"])


@router.get("/livez")
async def live() -> schemas.Health:
    """Check only that the process responds."""
    return schemas.Health(parts={"api": "ok"})


@router.get("/readyz", responses=error_responses(503))
async def ready(store: CurrentStore) -> schemas.Health:
    """Check that the service can run jobs.

    The database must be reachable and have the current schema. A coordinator, which is the process
    that runs the jobs, must be running. Otherwise a response with status 503 names the missing
    part.
    """
    checks = {
        "database": store.check_revision,
        "coordinator": lambda: _require_coordinator(store.url),
    }
    missing = []
    for part, check in checks.items():
        try:
            await asyncio.wait_for(asyncio.to_thread(check), READY_SECONDS)
        except TimeoutError:
            missing.append(Problem(part, f"the check took longer than {READY_SECONDS:g} s; retry"))
        except TelescopeError as error:
            missing.append(Problem(part, error.message))
        if missing:  # stop at the first failure, since the second check needs the database
            raise Unavailable("; ".join(map(str, missing)), tuple(missing))
    return schemas.Health(parts=dict.fromkeys(("api", *checks), "ok"))


def _require_coordinator(url: str) -> None:
    """Raise Unavailable if no coordinator is running.

    A coordinator holds a lock while it runs. If the lock is free, no coordinator is running.
    """
    lock = CoordinatorLock(url)
    try:
        if lock.acquire():
            remedy = "start `telescope coordinator`, or use `telescope serve`, which starts one"
            raise Unavailable(f"no coordinator is running, so no job can start; {remedy}")
    finally:
        lock.release()
