"""`telescope coordinates FILE`: the coordinate check of a job, without running the job.

It is the check that every telescope job begins with: a few training steps at several widths, in
this process, on one core. It prints one row per layer, and the verdict.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from api.cli import job_file
from api.cli.output import Plot, console, show_json
from telescope.errors import InvalidInput

COLOURS = {"pass": "green", "fail": "red", "unresolved": "yellow", "skipped": "yellow"}
PARTS = {"moved": "its output", "own": "by its own update"}


def coordinates(
    file: Annotated[Path, typer.Argument(help="Job file, YAML 1.2 or JSON.", show_default=False)],
    plot: Plot = None,
    optimizer: Annotated[
        str | None, typer.Option(help="Check only the ladder of this optimizer: muon or adamw.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document to standard output.")
    ] = False,
) -> None:
    """Check that a job's parametrisation keeps updates the same size at every width.

    Trains a few steps on this machine; takes seconds. Exit status 1 if a check fails.

    Example: telescope coordinates job.yaml --plot check.png
    """
    import torch  # late, for a quick start

    from api.jobs.submission import Submission, opened  # late, for a quick start
    from telescope.studies import registry

    study = opened(Submission(job_file.read_job_file(file)))
    if study.kind.ladders is None:
        able = ", ".join(kind.name for kind in registry.KINDS.values() if kind.ladders)
        message = f"trains at one width, but the check compares several; give a job of kind {able}"
        raise InvalidInput.of("kind", message, study.kind.name)
    all_ladders = tuple(study.kind.ladders(study.question))
    ladders = [ladder for ladder in all_ladders if optimizer in (None, ladder.optimizer)]
    if not ladders:
        optimizers = ", ".join(dict.fromkeys(ladder.optimizer for ladder in all_ladders))
        raise InvalidInput.of(
            "optimizer", f"the job has no such ladder; choose from {optimizers}", optimizer
        )
    torch.set_num_threads(1)
    names = [", ".join(filter(None, (ladder.optimizer, ladder.variant))) for ladder in ladders]
    reports = {
        name: run_check(ladder.design, name, console(as_json))
        for name, ladder in zip(names, ladders, strict=True)
    }
    failed = any(report.verdict == "fail" for report in reports.values())
    if as_json:
        documents = [
            {
                "optimizer": ladder.optimizer,
                "variant": ladder.variant,
                **registry.report_document(report),
            }
            for ladder, report in zip(ladders, reports.values(), strict=True)
        ]
        show_json(
            {
                "passed": all(report.verdict == "pass" for report in reports.values()),
                "failed": failed,
                "ladders": documents,
            }
        )
    else:
        show_check(reports, console())
    if plot:
        from telescope.studies.coordinates.plot import draw  # late, for a quick start

        draw(reports, plot, study.question.name)
    raise typer.Exit(1 if failed else 0)


def run_check(design: Any, name: str, shown_on: Console) -> Any:
    """Run the check of one ladder, with its progress shown on a terminal."""
    from telescope.studies.coordinates.check import carry_out  # late, for a quick start
    from telescope.train.loop import train_one

    with shown_on.status(f"{name}: coordinate check") as status:
        return carry_out(
            design,
            train_one,
            lambda spec: status.update(
                f"{name}: coordinate check, width {spec.model.width}, seed {spec.seed}"
            ),
        )


def show_check(reports: Mapping[str, Any], shown_on: Console) -> None:
    """Print tables and verdicts."""
    for name, report in reports.items():
        shown_on.print(
            f"\n[bold]{name}[/]: widths {', '.join(map(str, report.widths))}; {report.seeds} seeds; {report.steps} steps"
        )
        if report.layers:
            shown_on.print(slopes_table(report))
        shown_on.print(
            f"[{COLOURS[report.verdict]}]{report.verdict}[/]: {escape(report.reason)}.",
            soft_wrap=True,
        )
        if report.cause:
            shown_on.print(f"Likely cause: {escape(report.cause)}.", soft_wrap=True)
        if report.verdict == "unresolved":
            shown_on.print("This would not stop a job: no fault was detected.", soft_wrap=True)


def slopes_table(report: Any) -> Table:
    """One row per layer and kind of change, steepest slope first."""
    rows = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("layer", "change of", "slope", "90 % interval", "verdict"):
        rows.add_column(title, justify="right" if title in ("slope", "90 % interval") else "left")
    for layer in report.layers:
        verdict = f"[{COLOURS[layer.verdict]}]{layer.verdict}[/]"
        rows.add_row(
            layer.layer,
            PARTS[layer.part],
            f"{layer.slope:+.2f}",
            f"{layer.low:+.2f} to {layer.high:+.2f}",
            verdict,
        )
    return rows
