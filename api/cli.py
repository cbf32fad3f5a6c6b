"""What can be typed at a terminal?

The commands of `telescope`, and the composition root of the service: here settings, store, coordinator and views meet. Commands
that speak to a running service take --url; `run` needs none. `--json` prints one JSON document on standard output, whatever happens.

Exit status: 0 done · 1 the verdict is negative · 2 bad input · 3 something that telescope depends on failed.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup
from typer.exceptions import TyperException

from api import answer, supervisor, view
from api.job_file import read_document
from api.settings import Settings
from telescope.client import Client, Job
from telescope.errors import InvalidInput, Problem, TelescopeError, Unavailable
