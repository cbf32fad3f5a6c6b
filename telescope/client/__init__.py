"""A client for the HTTP interface."""

from telescope.client.client import Client
from telescope.client.resources import Corpus, Curve, Job, Trial

__all__ = ["Client", "Corpus", "Curve", "Job", "Trial"]
