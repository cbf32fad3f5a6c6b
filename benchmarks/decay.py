"""Effect of weight decay on the loss, at chosen learning rates.

    python -m benchmarks.decay --width 32 --lr 0.0156 0.03125 --decay 0.002 0.03 --seeds 4
    python -m benchmarks.decay --quick

The benchmark trains the model of `api/examples/quickstart.yaml` with Muon at one width, with every
pair of a learning rate and a weight decay, each with the same seeds. It prints a row for each pair:
the mean of the final losses over the seeds, their standard deviation, and the mean difference from
the first pair in %, with its standard error. Differences are taken between runs of the same seed.
"""

import argparse
import itertools
import math
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks.arguments import parsed
from telescope.studies.telescoping.fold.specs import target_spec

Pair = tuple[float, float]  # lr, weight decay
EXAMPLE = Path(__file__).parents[1] / "api" / "examples" / "quickstart.yaml"


def loss(width: int, job: tuple[Pair, int]) -> float:
    """Train the example at a width, with one pair and one seed, and return the final held-out loss.

    Returns inf if the run diverged.
    """
    import torch

    from api.cli.job_file import read_job_file
    from telescope.studies import registry
    from telescope.train.loop import train_one
    from telescope.trials.outcome import completed

    torch.set_num_threads(1)
    (lr, decay), seed = job
    study = registry.resolved(registry.parse(read_job_file(EXAMPLE))).question
    spec = target_spec(study, "muon", {"lr": lr, "weight_decay": decay}, seed)
    spec = replace(spec, model=study.model.at(width))
    held_out = completed(spec, list(train_one(spec))).loss
    return math.inf if held_out is None else held_out


def table(pairs: list[Pair], losses: np.ndarray) -> str:  # losses: [pair, seed]
    """The table, with one line for each pair."""
    differences = 100 * (losses / losses[0] - 1)
    errors = differences.std(axis=1, ddof=1) / math.sqrt(losses.shape[1])
    lines = [f"{'lr':>8} {'decay':>9} {'loss':>8} {'sd':>7}   difference from the first, %"]
    for (lr, decay), row, percent, error in zip(pairs, losses, differences, errors, strict=True):
        lines.append(
            f"{lr:8.4g} {decay:9.4g} {row.mean():8.4f} {row.std(ddof=1):7.4f}   "
            f"{percent.mean():+.2f} +- {error:.2f}"
        )
    return "\n".join(lines)


def main() -> int:
    """Train and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--lr", type=float, nargs="+", default=[0.03125])
    parser.add_argument("--decay", type=float, nargs="+", default=[0.125, 0.03])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=5000)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parsed(parser, width=16, seeds=2)
    pairs = list(itertools.product(arguments.lr, arguments.decay))
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    jobs = list(itertools.product(pairs, seeds))
    with ProcessPoolExecutor(arguments.processes, mp_context=get_context("spawn")) as pool:
        losses = np.array(list(pool.map(partial(loss, arguments.width), jobs)))
    print(table(pairs, losses.reshape(len(pairs), len(seeds))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
