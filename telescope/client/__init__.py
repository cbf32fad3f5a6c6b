"""A Python client of telescope's HTTP service.

In reading order: `resources`, the values that the service sends · `connection`, which sends
requests and raises the errors that the service reports · `pages`, lists that the service sends in
pages · `jobs`, requests about jobs · `tables` and `grokking`, requests for the tables of a job ·
`client`, which combines all requests.
"""

from telescope.client.client import Client
from telescope.client.resources import (
    Corpus,
    Curve,
    Job,
    JobDetail,
    JobState,
    TrialDetail,
    TrialSummary,
)

__all__ = [
    "Client",
    "Corpus",
    "Curve",
    "Job",
    "JobDetail",
    "JobState",
    "TrialDetail",
    "TrialSummary",
]
