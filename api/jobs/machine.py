"""Facts about this installation, for forecasts of the cost of a job.

The facts are the speed at which the workers trained earlier trials, the number of workers, and the
function that encodes curves for the database. The function determines how much disk space the
curves take. Without earlier trials, a forecast assumes a speed.
"""

import os
from pathlib import Path

from api.settings import Settings
from api.store.curves import encode
from api.store.store import Store
from telescope.errors import TelescopeError
from telescope.studies.forecast.pace import Machine


def slots(settings: Settings) -> int:
    """Return the number of workers that a forecast assumes.

    The local executor has one worker. For Ray, the number is the setting `workers`, by default the
    number of CPUs of this machine.
    """
    return 1 if settings.executor == "local" else settings.workers or os.cpu_count() or 1


def measurements_in_database(settings: Settings, store: Store) -> Machine:
    """Return the facts about this installation, with the speeds recorded in an open database."""
    return Machine(tuple(store.rates()), slots(settings), encode)


def measurements_in_installation(settings: Settings) -> Machine:
    """Return the facts about this installation, with the speeds recorded in its database.

    If the database cannot be read, the result has no speeds.
    """
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
