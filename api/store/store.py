"""The store: the reads and writes of the HTTP service.

The service writes only to create jobs, and to request verbs, which are changes of a job's state
such as pause and cancel. Each read and each write is one transaction, except that `create_job` may
need two. The number of SQL statements in a transaction does not depend on the number of trials.

The coordinator is the process that runs the jobs. The class `CoordinatorStore` of
`api.store.record` has the writes that only the coordinator makes.
"""

from api.store.jobs import JobTable
from api.store.trials import TrialTable


class Store(JobTable, TrialTable):
    """Reads and writes of jobs (`api.store.jobs`), and reads of trials and their curves."""
