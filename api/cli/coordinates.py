"""The command `telescope coordinates FILE`, which runs the coordinate check of a job.

The check trains models of several widths for a few steps and measures how much the output of each
layer changes. It tests whether the size of this change depends on the width. A job of kind
telescope begins with this check, unless the job's field `coordinates` is `skip` or the check is too
costly for the job. The command ignores `coordinates: skip`, and never runs the rest of the job. It
trains in this process, and prints a table of the layers and a verdict.

A job can compare optimizers, and it can compare variants (architectures or texts). A *ladder* is a
series of models of increasing width. The job has one ladder for each combination of optimizer and
variant, and the command checks each ladder separately.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from api.cli import job_file
from api.cli.options import AsJson, JobFile, Plot
from api.cli.output import console, show_json
from telescope.errors import InvalidInput

if TYPE_CHECKING:
    from telescope.studies.kind import AnyStudy

COLOURS = {"pass": "green", "fail": "red", "unresolved": "yellow", "skipped": "yellow"}
# Texts of the column `change of`, by the part of the change that is measured.
PARTS = {"moved": "output", "own": "output, due to the layer's own update"}


def coordinates(
    file: JobFile,
    plot: Plot = None,
    optimizer: Annotated[
        str | None, typer.Option(help="Check only this optimizer of the job: muon or adamw.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check that the size of a model's updates does not change with width.

    Hyperparameters transfer across widths only if the updates keep their size. The check trains for
    a few steps on this machine, which takes seconds if the models are small. The exit status is 1
    if the check fails.

    Example: telescope coordinates job.yaml --plot check.png
    """
    import torch  # lazy import: slow to load

    from api.jobs.submission import Submission, opened  # lazy import: slow to load

    study = opened(Submission(job_file.read_job_file(file)))
    ladders = selected_ladders(study, optimizer)
    torch.set_num_threads(1)
    names = [", ".join(filter(None, (ladder.optimizer, ladder.variant))) for ladder in ladders]
    reports = {
        name: run_check(ladder.design, name, console(as_json))
        for name, ladder in zip(names, ladders, strict=True)
    }
    if as_json:
        show_json(check_document(ladders, list(reports.values())))
    else:
        show_check(reports, console())
    if plot:
        from telescope.studies.coordinates.plot import draw  # lazy import: slow to load

        draw(reports, plot, study.question.name)
    raise typer.Exit(1 if any(report.verdict == "fail" for report in reports.values()) else 0)


def selected_ladders(study: "AnyStudy", optimizer: str | None) -> list[Any]:
    """Return the study's ladders of one optimizer, or all its ladders if `optimizer` is None.

    Raises InvalidInput if the study has no ladders, or no ladder of this optimizer.
    """
    from telescope.studies import registry  # lazy import: slow to load

    if study.kind.ladders is None:
        kinds = ", ".join(kind.name for kind in registry.KINDS.values() if kind.ladders)
        message = (
            "jobs of this kind train at one width, but the check compares several widths; "
            f"give a job of kind {kinds}"
        )
        raise InvalidInput.of("kind", message, study.kind.name)
    ladders = list(study.kind.ladders(study.question))
    selected = [ladder for ladder in ladders if optimizer in (None, ladder.optimizer)]
    if not selected:
        optimizers = ", ".join(dict.fromkeys(ladder.optimizer for ladder in ladders))
        message = f"the job has no ladder of this optimizer; choose from {optimizers}"
        raise InvalidInput.of("--optimizer", message, optimizer)
    return selected


def run_check(design: Any, name: str, output: Console) -> Any:
    """Run the check of one ladder. Shows its progress if `output` is a terminal."""
    from telescope.studies.coordinates.check import carry_out  # lazy import: slow to load
    from telescope.train.loop import train_one

    with output.status(f"{name}: coordinate check") as status:
        return carry_out(
            design,
            train_one,
            lambda spec: status.update(
                f"{name}: coordinate check, width {spec.model.width}, seed {spec.seed}"
            ),
        )


def check_document(ladders: Sequence[Any], reports: Sequence[Any]) -> dict[str, Any]:
    """Return the reports of all ladders as one JSON document."""
    from telescope.studies import registry  # lazy import: slow to load

    documents = [
        {"optimizer": ladder.optimizer, "variant": ladder.variant}
        | registry.report_document(report)
        for ladder, report in zip(ladders, reports, strict=True)
    ]
    return {
        "passed": all(report.verdict == "pass" for report in reports),
        "failed": any(report.verdict == "fail" for report in reports),
        "ladders": documents,
    }


def show_check(reports: Mapping[str, Any], output: Console) -> None:
    """Print the tables and verdicts of all ladders."""
    for name, report in reports.items():
        widths = ", ".join(map(str, report.widths))
        output.print(
            f"\n[bold]{name}[/]: widths {widths}; {report.seeds} seeds; {report.steps} steps"
        )
        if report.layers:
            output.print(slopes_table(report))
        verdict = f"[{COLOURS[report.verdict]}]{report.verdict}[/]"
        output.print(f"{verdict}: {escape(report.reason)}.", soft_wrap=True)
        if report.cause:
            output.print(f"Likely cause: {escape(report.cause)}.", soft_wrap=True)
        if report.verdict == "unresolved":
            output.print(
                "An unresolved check would not stop a job, because it found no fault.",
                soft_wrap=True,
            )


def slopes_table(report: Any) -> Table:
    """Return a table with one row per layer and measured change, the steepest slope first.

    The slope is s if the size of the change grows as width^s.
    """
    rows = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("layer", "change of", "slope", "90 % interval", "verdict"):
        rows.add_column(title, justify="right" if title in ("slope", "90 % interval") else "left")
    for layer in report.layers:
        rows.add_row(
            layer.layer,
            PARTS[layer.part],
            f"{layer.slope:+.2f}",
            f"{layer.low:+.2f} to {layer.high:+.2f}",
            f"[{COLOURS[layer.verdict]}]{layer.verdict}[/]",
        )
    return rows
