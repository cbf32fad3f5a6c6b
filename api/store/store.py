"""The store: what the service remembers, and what its api may ask and write.

Each public method is one transaction and a constant number of statements, whatever the number of trials. The api creates jobs and
requests verbs; everything else here reads. What the coordinator alone may write is `api.store.record`.
"""

from api.store.jobs import Jobs
from api.store.trials import Trials


class Store(Jobs, Trials):
    """The database, to the api: jobs and verbs (`api.store.jobs`), trials and curves (`api.store.trials`)."""
