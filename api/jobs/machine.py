"""Measurements of this installation that forecasts use.

The measurements are the past speed of the workers, the number of trials that run at once, and the
size of curves. A forecast never fails for lack of measurements.
"""

import os
from pathlib import Path

from api.settings import Settings
from api.store.curves import encode
from api.store.store import Store
from telescope.errors import TelescopeError
from telescope.studies.forecast.pace import Machine


def slots(settings: Settings) -> int:
    """Number of trials that run at once: 1 with the local executor, else as many as `workers` says,
    by default one per CPU of this machine."""
    return 1 if settings.executor == "local" else settings.workers or os.cpu_count() or 1


def measurements_in_database(settings: Settings, store: Store) -> Machine:
    """Return the measurements in an open database."""
    return Machine(tuple(store.rates()), slots(settings), encode)


def measurements_in_installation(settings: Settings) -> Machine:
    """Return the measurements in this installation's database; no speeds if it cannot be read."""
    url = settings.database_url
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        return Machine((), slots(settings), encode)
    try:
        store = Store(url)
        try:
            store.check_revision()
            return measurements_in_database(settings, store)
        finally:
            store.close()
    except TelescopeError:
        return Machine((), slots(settings), encode)
