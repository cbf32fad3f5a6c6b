"""Muon against AdamW on algorithmic tasks: the experiment of arXiv 2504.16041 in a small shape.

    python -m benchmarks.grokking [--protocols paper tuned] [--modulus 31] [--width 64]
        [--softmax softmax stablemax sparsemax] [--workers 2] [--document] [--quick]

Each protocol is one job:

- `paper`: seven tasks and three softmaxes, hence 21 cells. Both optimizers share the learning rate
  and the weight decay, as in the paper. The paper does not state their values; they are those of
  its public code. Ten seeds, because with fewer than ten no cell among 21 can be told after Holm's
  correction.
- `tuned`: addition, division and parity. Each optimizer searches the same grid in each cell, and
  Muon also the learning rate of its AdamW part. Eight seeds.

The batch of 64 rows gives about as many steps per epoch as the paper's 512 rows at modulus 97.

For each job the benchmark prints a table of the cells, the tests over all cells beside the paper's
figures, and the ledger. It writes the report and two pictures, one of all runs and one of the
ratios alone, into its data folder (--home). If it is interrupted and started again, it reuses the
runs that have ended.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

from pydantic import TypeAdapter

from benchmarks.arguments import parsed
from telescope.studies.grokking.plot import draw_ratios
from telescope.studies.grokking.report import GrokkingReport
from telescope.studies.grokking.rows import CellRow
from telescope.trials.types import SoftmaxName

TASKS = ("add", "sub", "mul", "div", "pow", "gcd", "parity")
TUNED_TASKS = ("add", "div", "parity")
PAPER = "the paper's: mean epoch 153.09 and 102.89, t 5.0175, p 6.33e-8"
REPORT = TypeAdapter(GrokkingReport)


def table(task: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """The table of a task."""
    size = {"bits": arguments.bits} if task == "parity" else {"modulus": arguments.modulus}
    return {"task": task} | size


def document(protocol: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """The document of the job of a protocol."""
    tasks = TASKS if protocol == "paper" else TUNED_TASKS
    softmaxes = arguments.softmax if protocol == "paper" else ("softmax",)
    size = {"width": arguments.width, "depth": 1, "head_dim": arguments.width // 2}
    job: dict[str, Any] = {
        "kind": "grokking",
        "name": f"grokking-{protocol}",
        "protocol": protocol,
        "data": [table(task, arguments) for task in tasks],
        "softmax": list(softmaxes),
        "model": {"preset": "grokking", **size},
        "runs": {
            "epochs": arguments.epochs,
            "batch_rows": 64,
            "evaluate_epochs": arguments.evaluate_epochs,
            "sustained_evaluations": 3,
        },
        "seeds": arguments.paper_seeds if protocol == "paper" else arguments.tuned_seeds,
    }
    if protocol == "tuned":
        job["tuning"] = {
            "lr": {"low": 0.001, "high": 0.03, "points": arguments.points},
            "weight_decay": [0.3, 1.0, 3.0],
            "adamw_lr_ratio": [0.1, 0.3, 1.0],
        }
    return job


def run(protocol: str, arguments: argparse.Namespace) -> GrokkingReport:
    """Run the job of a protocol with `telescope run`, and keep its report."""
    arguments.home.mkdir(parents=True, exist_ok=True)
    file = arguments.home / f"{protocol}.json"
    file.write_text(json.dumps(document(protocol, arguments), indent=2))
    options = ["--json", "--workers", str(arguments.workers)]
    plot = ["--plot", str(file.with_suffix(".png"))]
    command = [sys.executable, "-m", "api.cli", "run", str(file), *options, *plot]
    environment = os.environ | {"TELESCOPE_HOME": str(arguments.home.resolve())}
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, text=True, check=False
    )  # the status is 1 if the verdict is no conclusion; the report is printed all the same
    report = REPORT.validate_json(done.stdout)
    (arguments.home / f"{protocol}-report.json").write_text(done.stdout)
    draw_ratios(report, arguments.home / f"{protocol}-ratios.png", f"protocol {protocol}")
    return report


def cell_line(cell: CellRow) -> str:
    """A line of the table of cells."""
    arms = {arm.optimizer: arm for arm in cell.arms}
    columns = [cell.task, cell.softmax, f"{100 * (cell.majority_share or 0):.1f} %"]
    for name in ("adamw", "muon"):
        arm = arms[name]
        columns.append(f"{arm.generalised}/{arm.runs}")
        columns.append("–" if arm.median_steps is None else f"{arm.median_steps:.0f}")
    ratio = next((row for row in cell.ratios if row.unit == "steps"), None)
    high = "" if ratio is None or ratio.high is None else f"{ratio.high:.2f}"
    columns.append("–" if ratio is None else f"{ratio.ratio:.2f} ({ratio.low:.2f}-{high})")
    columns += [
        "–" if value is None else f"{value:.2g}"
        for value in (cell.p, cell.p_holm, cell.chance_earlier, cell.spread_ratio, cell.spread_p)
    ]
    return f"| {' | '.join([*columns, cell.verdict.replace('_', ' ')])} |"


HEADINGS = (
    "task | softmax | majority | AdamW generalised | median steps | Muon generalised | "
    "median steps | AdamW / Muon, mean steps | p | p, Holm | Muon earlier | spread | p of spread | "
    "verdict"
)


def show(report: GrokkingReport) -> None:
    """Print a report as Markdown."""
    for event in ("sustained", "crossed"):
        print(f"\n{event}\n\n| {HEADINGS} |\n|{'---|' * (HEADINGS.count('|') + 1)}")
        for cell in report.cells:
            if cell.event == event:
                print(cell_line(cell))
    print()
    for over in report.over_cells:
        if over.log_rank_p is not None:
            chi2, p = over.log_rank_chi2, over.log_rank_p
            print(f"- {over.event}: log-rank over all cells: chi2 {chi2:.1f}, p {p:.2g}")
        if test := over.pooled:
            print(
                f"- {over.event}: the paper's pooled test: mean epoch {test.adamw_mean_epochs:.1f} "
                f"and {test.muon_mean_epochs:.1f}, t {test.t:.2f}, df {test.df:.0f}, p "
                f"{test.p:.2g}, {test.runs} runs, {test.left_out} left out ({PAPER})"
            )
    for cost in report.ledger:
        print(
            f"- {cost.optimizer}: {cost.hyperparameters}; {cost.tuning_trials} tuning trials, "
            f"{cost.trials} trials, {cost.diverged} diverged, {cost.seconds:.0f} s, "
            f"{cost.flops:.2e} FLOPs"
        )
    print(f"\n{report.verdict}: {report.reason}")


def main() -> None:
    """Run the jobs of the chosen protocols, one after the other, and print their reports."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--protocols", nargs="+", choices=("paper", "tuned"), default=("paper", "tuned")
    )
    parser.add_argument(
        "--softmax",
        nargs="+",
        choices=get_args(SoftmaxName),
        default=get_args(SoftmaxName),
        help="variants of softmax of the protocol `paper`",
    )
    parser.add_argument("--modulus", type=int, default=31, help="modulus of the arithmetic")
    parser.add_argument("--bits", type=int, default=9, help="bits of the numbers for parity")
    parser.add_argument("--width", type=int, default=64, help="width of the model")
    parser.add_argument("--epochs", type=int, default=150, help="most epochs of a run")
    parser.add_argument("--evaluate-epochs", type=int, default=2, help="epochs between evaluations")
    parser.add_argument("--points", type=int, default=4, help="learning rates of the grid")
    parser.add_argument("--paper-seeds", type=int, default=10)
    parser.add_argument("--tuned-seeds", type=int, default=8)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--home", type=Path, default=Path("build/grokking"))
    parser.add_argument("--document", action="store_true", help="print the jobs and run nothing")
    arguments = parsed(
        parser, modulus=7, bits=4, width=16, epochs=8, points=2, paper_seeds=2, tuned_seeds=2
    )
    for protocol in arguments.protocols:
        if arguments.document:
            print(json.dumps(document(protocol, arguments), indent=2))
            continue
        print(f"\nprotocol {protocol}")
        show(run(protocol, arguments))


if __name__ == "__main__":
    main()
