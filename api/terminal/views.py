"""The view of each kind of study: functions that print and plot the results of its jobs.

`VIEWS` holds the kinds of study that have their own view. For any other kind, `view_of` returns
`GENERIC`, which prints reports and forecasts as tables of their fields, and has no plot.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from api.terminal import compute_time, forecast, frontier, grokking, telescoping
from api.terminal.progress import TrialLike
from telescope.errors import InvalidInput
from telescope.studies.compute_time.kind import KIND as COMPUTE_TIME
from telescope.studies.grokking.kind import KIND as GROKKING
from telescope.studies.telescoping.kind import KIND as TELESCOPING

JsonDocument = dict[str, Any]


class JobResult(Protocol):
    """The result of a job, read from a service or from the database of this installation."""

    @property
    def name(self) -> str: ...
    @property
    def study(self) -> JsonDocument: ...
    @property
    def report(self) -> JsonDocument: ...
    def trials(self) -> Iterable[TrialLike]: ...
    def tables(self, target_loss: float) -> JsonDocument:
        """Return the tables of a compute-time job at a target loss, as JSON documents."""
        ...


@dataclass(frozen=True)
class View:
    """Functions for one kind of study: print a report, print a forecast, and write a plot."""

    show: Callable[[JsonDocument, JsonDocument, Console], None]
    show_forecast: Callable[[JsonDocument, Console], None]
    picture: Callable[[JobResult, Path], None]


def show_telescoping(report: JsonDocument, study: JsonDocument, console: Console) -> None:
    telescoping.show(telescoping.parse_report(report), telescoping.target_width(study), console)


def picture_telescoping(result: JobResult, path: Path) -> None:
    from api.terminal import pictures  # lazy import: loads matplotlib

    report = telescoping.parse_report(result.report)
    width = telescoping.target_width(result.study)
    pictures.plot_report(report, result.trials(), width, path, result.name)


def show_compute_time(report: JsonDocument, study: JsonDocument, console: Console) -> None:
    compute_time.show(compute_time.parse_report(report), console)


def picture_compute_time(result: JobResult, path: Path) -> None:
    """Plot the tables of a compute-time job at the lowest target loss of its study."""
    tables = result.tables(frontier.lowest_target_loss(result.study["target_losses"]))
    frontier.plot_tables(frontier.parse_tables(tables), path, result.name)


def show_grokking(report: JsonDocument, study: JsonDocument, console: Console) -> None:
    grokking.show(grokking.parse_report(report), console)


def picture_grokking(result: JobResult, path: Path) -> None:
    grokking.plot_grokking(grokking.parse_report(result.report), path, result.name)


def show_any(report: JsonDocument, study: JsonDocument, console: Console) -> None:
    """Print a report as a table of its fields."""
    console.print(fields(report))


def show_any_forecast(document: JsonDocument, console: Console) -> None:
    """Print a forecast as a table of its fields."""
    console.print(fields(document))


def no_picture(result: JobResult, path: Path) -> None:
    """Raise InvalidInput, because the kind of the job has no plot."""
    message = f"jobs of kind {result.study['kind']} have no plot; leave --plot out"
    raise InvalidInput.of("--plot", message, str(path))


def fields(document: Mapping[str, Any]) -> Table:
    """Return a table of a document's fields. Nested documents become nested tables."""
    output = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for name, value in document.items():
        output.add_row(name.replace("_", " "), cell(value))
    return output


def cell(value: Any) -> Any:
    """Return the content of the table cell for a value. Nested values become nested tables."""
    if isinstance(value, Mapping):
        return fields(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        inner = Table.grid()
        for item in value:
            inner.add_row(cell(item))
        return inner
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else escape(str(value))


GENERIC = View(show_any, show_any_forecast, no_picture)
VIEWS: dict[str, View] = {
    TELESCOPING.name: View(show_telescoping, forecast.show_forecast, picture_telescoping),
    COMPUTE_TIME.name: View(show_compute_time, compute_time.show_bill, picture_compute_time),
    GROKKING.name: View(show_grokking, grokking.show_bill, picture_grokking),
}


def view_of(kind: str) -> View:
    """Return the view of the kind of study with this name."""
    return VIEWS.get(kind, GENERIC)
