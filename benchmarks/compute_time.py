"""Which optimizer needs fewer tokens, at which batch size, does it last past the critical batch, and does the reading matter?

    python -m benchmarks.compute_time [--reading constant] [--corpus python-stdlib] [--width 32] [--workers 2] [--document] [--quick]

The compute-time study in miniature: Muon against AdamW at width 32 on python-stdlib, batches of 256 to 16k tokens, learning rates tuned
at every batch on the same grid, five seeds; by options another corpus or width, fewer seeds or batches, other losses. It runs on a service
of its own, in a folder of its own (--home), so an interrupted one goes on where it was; prints the report, and draws it beside the
database. `--document` prints the job and runs nothing.

Parts: `document`, the job · `main`.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.arguments import parsed

TARGETS = (2.6, 2.4, 2.2, 2.1, 2.0)


def document(asked: argparse.Namespace) -> dict[str, Any]:
    """The job."""
    return {
        "kind": "compute_time",
        "name": f"compute-time-{asked.corpus}-{asked.width}-{asked.reading}",
        "optimizer": ["muon", "adamw"],
        "model": {"width": asked.width, "depth": 2, "head_dim": 16},
        "data": {"corpus": asked.corpus, "tokenizer": "bytes", "context": 64},
        "batch_tokens": {"low": asked.smallest, "high": asked.largest},
        "target_losses": asked.targets,
        "runs": {"tokens": asked.tokens, "doublings": 3, "reading": asked.reading},
        "tuning": {"lr": {"low": 0.002, "high": 0.128, "points": 7}, "weight_decay": 0.1},
        "seeds": asked.seeds,
    }


def main() -> None:
    """Run the job by `telescope run`, or go on with it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reading", choices=("constant", "cooldown", "full"), default="constant")
    parser.add_argument("--corpus", default="python-stdlib")
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--smallest", type=int, default=256, help="batch, in tokens")
    parser.add_argument("--largest", type=int, default=16384, help="batch, in tokens")
    parser.add_argument("--targets", type=float, nargs="+", default=TARGETS, help="held-out losses")
    parser.add_argument("--tokens", type=int, default=400_000, help="of the shortest runs")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--home", type=Path, default=Path("build/compute-time"))
    parser.add_argument("--document", action="store_true", help="print the job and run nothing")
    asked = parsed(parser, largest=512, targets=[3.5], tokens=10_240, seeds=2)
    job = document(asked)
    if asked.document:
        print(json.dumps(job, indent=2))
        return
    asked.home.mkdir(parents=True, exist_ok=True)
    file = asked.home / f"{job['name']}.json"
    file.write_text(json.dumps(job, indent=2))
    command = [sys.executable, "-m", "api.cli", "run", str(file), "--workers", str(asked.workers), "--plot", str(file.with_suffix(".png"))]
    environment = os.environ | {"TELESCOPE_HOME": str(asked.home.resolve())}
    sys.exit(subprocess.run(command, env=environment, check=False).returncode)


if __name__ == "__main__":
    main()
