"""What does this installation know that a forecast needs?

How fast its workers trained before, how many trials it runs at once, and how large its curves are. A forecast never fails for want of it.
"""

import os
from pathlib import Path

from api.settings import Settings
from api.store.curves import encode
from api.store.store import Store
from telescope.errors import TelescopeError
from telescope.studies.forecast.pace import Machine


def slots(settings: Settings) -> int:
    """Trials at once, as far as can be told without asking the workers."""
    return 1 if settings.executor == "local" else settings.workers or os.cpu_count() or 1


def known(settings: Settings, store: Store) -> Machine:
    """By a database that is at hand."""
    return Machine(tuple(store.rates()), slots(settings), encode)


def found(settings: Settings) -> Machine:
    """By the database of this installation, where there is one that this version can read."""
    here = settings.database_url
    if here.startswith("sqlite:///") and not Path(here.removeprefix("sqlite:///")).exists():
        return Machine((), slots(settings), encode)
    try:
        store = Store(here)
        try:
            store.check_revision()
            return known(settings, store)
        finally:
            store.close()
    except TelescopeError:
        return Machine((), slots(settings), encode)
