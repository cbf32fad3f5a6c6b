"""A client for the HTTP interface."""

from telescope.client.client import Client
from telescope.client.resources import Corpus, Curve, Job, JobDetail, JobState, Trial, TrialDetail

__all__ = ["Client", "Corpus", "Curve", "Job", "JobDetail", "JobState", "Trial", "TrialDetail"]
