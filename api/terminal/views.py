"""Terminal views, one per kind of study.

`VIEWS` has an entry for each kind of study with a view of its own. `view_of` returns `GENERIC` for
every other kind: it prints reports and forecasts as tables of their fields.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from api.terminal import compute_time, forecast, frontier, telescoping
from api.terminal.progress import TrialLike
from telescope.errors import InvalidInput
from telescope.studies.compute_time.kind import KIND as COMPUTE_TIME
from telescope.studies.telescoping.kind import KIND as TELESCOPING

Document = dict[str, Any]


class Findings(Protocol):
    """The result of a job, read from a service or from this installation's database."""

    @property
    def name(self) -> str: ...
    @property
    def study(self) -> Document: ...
    @property
    def report(self) -> Document: ...
    def trials(self) -> Iterable[TrialLike]: ...
    def tables(self, target_loss: float) -> Document:
        """The tables of a compute-time job at a target loss."""
        ...


@dataclass(frozen=True)
class View:
    """The view of one kind: functions that print a report, print a forecast, and write a plot."""

    show: Callable[[Document, Document, Console], None]
    show_forecast: Callable[[Document, Console], None]
    picture: Callable[[Findings, Path], None]


def show_telescoping(report: Document, study: Document, console: Console) -> None:
    telescoping.show(telescoping.parse_report(report), telescoping.target_width(study), console)


def picture_telescoping(findings: Findings, path: Path) -> None:
    from api.terminal import pictures  # late: imports matplotlib

    report = telescoping.parse_report(findings.report)
    width = telescoping.target_width(findings.study)
    pictures.plot_report(report, findings.trials(), width, path, findings.name)


def show_compute_time(report: Document, study: Document, console: Console) -> None:
    compute_time.show(compute_time.parse_report(report), console)


def picture_compute_time(findings: Findings, path: Path) -> None:
    """Plot the tables at the lowest of the study's target losses."""
    tables = findings.tables(frontier.lowest_target_loss(findings.study["target_losses"]))
    frontier.plot_tables(frontier.parse_tables(tables), path, findings.name)


def show_any(report: Document, study: Document, console: Console) -> None:
    """Print a document as a table of its fields."""
    console.print(fields(report))


def show_any_forecast(document: Document, console: Console) -> None:
    """Print a forecast as a table of its fields."""
    console.print(fields(document))


def no_picture(findings: Findings, path: Path) -> None:
    """Refuse to plot a kind that has no plot."""
    message = f"jobs of kind {findings.study['kind']} have no plot; leave --plot out"
    raise InvalidInput.of("--plot", message, str(path))


def fields(document: Mapping[str, Any]) -> Table:
    """A table of a document's names and values; nested documents are nested tables."""
    output = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for name, value in document.items():
        output.add_row(name.replace("_", " "), cell(value))
    return output


def cell(value: Any) -> Any:
    """A value as a cell of the table that `fields` makes."""
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
}


def view_of(kind: str) -> View:
    """The view of a kind of study, by its name."""
    return VIEWS.get(kind, GENERIC)
