"""The store: the reads and writes of the api.

Each public method is one transaction (`create_job` at most two) with a constant number of
statements, independent of the number of trials. The api creates jobs and requests verbs; all other
methods read. Writes that only the coordinator makes are in `api.store.record`.
"""

from api.store.jobs import JobTable
from api.store.trials import TrialTable


class Store(JobTable, TrialTable):
    """The store of the api: jobs (`api.store.jobs`), trials and curves (`api.store.trials`)."""
