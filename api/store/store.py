"""The store: reads of jobs and trials, and the writes that users request.

Users can create jobs, and request changes of a job's state, such as pause and cancel. The number of
SQL statements in a transaction does not depend on the number of trials.

The coordinator is the process that runs the jobs. The class `CoordinatorStore` in
`api.store.record` adds the operations that only the coordinator needs.
"""

from api.store.jobs import JobTable
from api.store.trials import TrialTable


class Store(JobTable, TrialTable):
    """Reads and writes of jobs (`api.store.jobs`), and reads of trials and their curves."""
