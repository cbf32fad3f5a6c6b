"""A small study of kind `compute_time`, which compares the tokens that Muon and AdamW need.

    python -m benchmarks.compute_time [--reading constant] [--corpus python-stdlib] [--width 32]
        [--workers 2] [--document] [--quick]

The study measures which optimizer needs fewer tokens to a target loss at each batch size. It shows
whether the advantage lasts beyond the critical batch size, from which on larger batches need more
tokens. Losses can be read from runs with a constant learning rate or from runs with a decaying
learning rate (`--reading`). Running the benchmark with both shows whether this choice matters.

By default the study trains width 32 on the corpus python-stdlib, with batches of 256 to 16k tokens
and five seeds. It tunes the learning rate at each batch size on the same grid. The study runs in
its own data folder (--home), so that an interrupted benchmark resumes when it is started again. The
benchmark prints the report, and writes a plot into the same folder.
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


def document(arguments: argparse.Namespace) -> dict[str, Any]:
    """The document of the job that runs the study."""
    return {
        "kind": "compute_time",
        "name": f"compute-time-{arguments.corpus}-{arguments.width}-{arguments.reading}",
        "optimizer": ["muon", "adamw"],
        "model": {"width": arguments.width, "depth": 2, "head_dim": 16},
        "data": {"corpus": arguments.corpus, "tokenizer": "bytes", "context": 64},
        "batch_tokens": {"low": arguments.smallest, "high": arguments.largest},
        "target_losses": arguments.targets,
        "runs": {"tokens": arguments.tokens, "doublings": 3, "reading": arguments.reading},
        "tuning": {"lr": {"low": 0.002, "high": 0.128, "points": 7}, "weight_decay": 0.1},
        "seeds": arguments.seeds,
    }


def main() -> None:
    """Run or resume the job with the command `telescope run`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reading", choices=("constant", "cooldown", "full"), default="constant")
    parser.add_argument("--corpus", default="python-stdlib")
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--smallest", type=int, default=256, help="smallest batch, in tokens")
    parser.add_argument("--largest", type=int, default=16384, help="largest batch, in tokens")
    parser.add_argument("--targets", type=float, nargs="+", default=TARGETS, help="target losses")
    parser.add_argument("--tokens", type=int, default=400_000, help="tokens of the shortest run")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--home", type=Path, default=Path("build/compute-time"))
    parser.add_argument("--document", action="store_true", help="print the job and run nothing")
    arguments = parsed(parser, largest=512, targets=[3.5], tokens=10_240, seeds=2)
    job = document(arguments)
    if arguments.document:
        print(json.dumps(job, indent=2))
        return
    arguments.home.mkdir(parents=True, exist_ok=True)
    file = arguments.home / f"{job['name']}.json"
    file.write_text(json.dumps(job, indent=2))
    options = ["--workers", str(arguments.workers), "--plot", str(file.with_suffix(".png"))]
    command = [sys.executable, "-m", "api.cli", "run", str(file), *options]
    environment = os.environ | {"TELESCOPE_HOME": str(arguments.home.resolve())}
    sys.exit(subprocess.run(command, env=environment, check=False).returncode)


if __name__ == "__main__":
    main()
