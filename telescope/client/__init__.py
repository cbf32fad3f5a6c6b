"""A client for the HTTP interface.

In reading order: `resources`, the values that the service sends · `connection`, requests and errors
· `pages`, typed values and lists of several pages · `jobs` and `tables`, requests about jobs and
their tables · `client`, which combines all requests.
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
