"""Drift of the best learning rate with width.

    python -m benchmarks.transfer                       (all arms)
    python -m benchmarks.transfer muon-mup adamw-standard
    python -m benchmarks.transfer --quick

Each arm has widths 32 to 256, an lr grid of one octave, and three seeds that share initialisation
and data order over lrs, on python-stdlib. Per width the optimum is the vertex of the least-squares
parabola through the seed means of the five points around the lowest; the slope over log2 width is
ordinary least squares. Its 90 % interval is a parametric bootstrap with the residual noise of the
arm (a loss minus the mean of its lr and the shift of its seed), since three seeds have too few
distinct resamples.

Muon with update scale 0.2 sqrt(max) is trained once, with AdamW's lr fixed at 2^-5, and read under
three lr rules (constant, m^-1/2, 1/m): they are the same runs on a shifted axis.

Finished runs are kept in a JSON-lines file, so an interrupted benchmark resumes.
"""

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.arguments import parsed
from telescope.data import batches
from telescope.train.loop import train_one
from telescope.trials.data import DataSpec
from telescope.trials.horizon import HorizonSpec
from telescope.trials.model import ModelSpec
from telescope.trials.optimizer import OptimizerSpec
from telescope.trials.outcome import completed
from telescope.trials.spec import TrialSpec

WIDTHS = (32, 64, 128, 256)
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Arm:
    optimizer: OptimizerSpec
    batch_tokens: int
    octaves: range  # log2 lr
    adamw_lr: float | None = None  # held at this value instead of a share of Muon's
    rules: tuple[tuple[str, float], ...] = (
        ("", 0.0),
    )  # lr rules to read the runs under, as exponents of m


def optimizer(name: str, parametrisation: str) -> OptimizerSpec:
    return OptimizerSpec(name=name, lr=1.0, weight_decay=0.0, parametrisation=parametrisation)  # type: ignore[arg-type]


ARMS = {
    "muon-mup": Arm(optimizer("muon", "mup"), 512, range(-7, 0)),
    "muon-rms": Arm(
        replace(optimizer("muon", "mup"), update_scale="rms_match", muon_lr_rule="constant"),
        512,
        range(-9, 0),
        adamw_lr=2.0**-5,
        rules=(("constant lr", 0.0), ("lr ~ m^-1/2", -0.5), ("lr ~ 1/m, the paper's", -1.0)),
    ),
    "adamw-mup": Arm(optimizer("adamw", "mup"), 2048, range(-8, -3)),
    "adamw-standard": Arm(optimizer("adamw", "standard"), 2048, range(-11, -3)),
}


def specs(arm: Arm, steps: int) -> Iterator[tuple[int, int, int, TrialSpec]]:
    """(width, log2 lr, seed, trial), widest first, so that the longest runs do not come last."""
    text = batches.resolve(DataSpec(corpus="python-stdlib", context=64))
    horizon = HorizonSpec(steps=steps, batch_tokens=arm.batch_tokens, evaluation_tokens=16_384)
    for width in reversed(WIDTHS):
        model = ModelSpec(width=width, base_width=WIDTHS[0], depth=2, head_dim=16)
        for octave in arm.octaves:
            for seed in SEEDS:
                ratio = (
                    arm.optimizer.adamw_lr_ratio
                    if arm.adamw_lr is None
                    else arm.adamw_lr / 2.0**octave
                )
                tuned = replace(arm.optimizer, lr=2.0**octave, adamw_lr_ratio=ratio)
                yield (
                    width,
                    octave,
                    seed,
                    TrialSpec(model=model, optimizer=tuned, data=text, horizon=horizon, seed=seed),
                )


def final_loss(spec: TrialSpec) -> float:
    torch.set_num_threads(1)
    return completed(spec, list(train_one(spec))).loss or math.inf


def run(arm: Arm, steps: int, store: Path, workers: int) -> NDArray[np.float64]:
    """Losses (width, lr, seed); runs that the store lacks are run."""
    store.parent.mkdir(parents=True, exist_ok=True)
    known = (
        dict(json.loads(line) for line in store.read_text().splitlines()) if store.exists() else {}
    )
    planned = list(specs(arm, steps))
    missing = [spec for *_, spec in planned if spec.digest not in known]
    with (
        ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool,
        store.open("a") as file,
    ):
        futures = {pool.submit(final_loss, spec): spec for spec in missing}
        for done, future in enumerate(as_completed(futures), start=1):
            known[futures[future].digest] = future.result()
            file.write(json.dumps([futures[future].digest, future.result()]) + "\n")
            file.flush()
            print(f"\r{done}/{len(missing)} runs", end="", flush=True)
    print()
    losses = np.full((len(WIDTHS), len(arm.octaves), len(SEEDS)), np.inf)
    for width, octave, seed, spec in planned:
        losses[WIDTHS.index(width), arm.octaves.index(octave), SEEDS.index(seed)] = known[
            spec.digest
        ]
    return losses


def vertex(octaves: Sequence[int], mean: NDArray[np.float64], window: slice) -> float:
    """Vertex of the least-squares parabola through the window's points that did not diverge."""
    x, y = np.asarray(octaves, float)[window], mean[window]
    finite = np.isfinite(y)
    curvature, slope, _ = np.polyfit(x[finite], y[finite], 2)
    return (
        float(np.clip(-slope / (2 * curvature), x[0], x[-1]))
        if curvature > 0
        else float(x[np.argmin(y)])
    )


@dataclass(frozen=True)
class Drift:
    vertices: tuple[float, ...]  # log2 lr per width
    edges: tuple[bool, ...]  # lowest seed mean on the border of the grid
    slope: float  # octaves per doubling
    low: float
    high: float
    noise: float  # standard deviation of one run's residual, relative to the loss


def drift(octaves: Sequence[int], losses: NDArray[np.float64], draws: int = 4000) -> Drift:
    mean = losses.mean(axis=2)  # (width, lr); inf where any seed diverged
    lowest = mean.argmin(axis=1)
    windows = [slice(max(0, i - 2), i + 3) for i in lowest]
    residual = losses - mean[:, :, None]
    near = [residual[w, windows[w]][np.isfinite(mean[w, windows[w]])] for w in range(len(WIDTHS))]
    near = [block - block.mean(axis=0) for block in near]  # minus each seed's shift
    freedom = sum((len(block) - 1) * (len(SEEDS) - 1) for block in near)
    relative = [block / mean[w].min() for w, block in enumerate(near)]
    noise = math.sqrt(sum(float((block**2).sum()) for block in relative) / freedom)
    random = np.random.default_rng(0)

    def slope(means: NDArray[np.float64]) -> float:
        vertices = [vertex(octaves, means[w], windows[w]) for w in range(len(WIDTHS))]
        return float(np.polyfit(np.log2(WIDTHS), vertices, 1)[0])

    scale = noise / math.sqrt(len(SEEDS)) * mean.min(axis=1, keepdims=True)
    sample = [slope(mean + scale * random.standard_normal(mean.shape)) for _ in range(draws)]
    low, high = np.quantile(sample, (0.05, 0.95))
    vertices = tuple(vertex(octaves, mean[w], windows[w]) for w in range(len(WIDTHS)))
    edges = tuple(bool(i in (0, len(octaves) - 1)) for i in lowest)
    return Drift(vertices, edges, slope(mean), float(low), float(high), noise)


def loss_at(octaves: Sequence[int], mean: NDArray[np.float64], x: float) -> float:
    """Loss between grid points, on the parabola through the nearest three; infinite outside the
    grid.
    """
    if not octaves[0] <= x <= octaves[-1]:
        return math.inf
    middle = min(max(round(x) - octaves[0], 1), len(octaves) - 2)
    near = slice(middle - 1, middle + 2)
    return float(np.polyval(np.polyfit(np.asarray(octaves, float)[near], mean[near], 2), x))


def show(name: str, arm: Arm, losses: NDArray[np.float64]) -> None:
    mean, found = losses.mean(axis=2), drift(arm.octaves, losses)
    print(
        f"\n{name} (batch {arm.batch_tokens} tokens)\nwidth  "
        + "".join(f"2^{o:<6}" for o in arm.octaves)
        + "vertex"
    )
    for w, width in enumerate(WIDTHS):
        cells = "".join(
            f"{value:<8.4f}" if math.isfinite(value) else "div.    " for value in mean[w]
        )
        print(
            f"{width:<7}{cells}{found.vertices[w]:+.2f}"
            + (" on the edge" if found.edges[w] else "")
        )
    print(
        f"one run's noise {100 * found.noise:.2f} % of loss; lowest: {', '.join(f'{x:.4f}' for x in mean.min(axis=1))}"
    )
    best = arm.octaves[int(mean[0].argmin())]
    for rule, exponent in arm.rules:
        # The lr that a run had is base lr x m^exponent, so a base lr stands for a run 'exponent'
        # octaves further on per doubling.
        slope, low, high = (value - exponent for value in (found.slope, found.low, found.high))
        copied = [loss_at(arm.octaves, mean[w], best + exponent * w) for w in range(len(WIDTHS))]
        print(
            f"{rule + ': ' if rule else ''}slope {slope:+.3f} octave per doubling, 90 % interval {low:+.3f} .. {high:+.3f}"
        )
        print(f"  loss at the base width's lr: {', '.join(f'{x:.4f}' for x in copied)}")
        print(f"  regret at width {WIDTHS[-1]}: {100 * (copied[-1] / mean[-1].min() - 1):.2f} %")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("arms", nargs="*", help=f"arms to run, of {', '.join(ARMS)} (default: all)")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--store", type=Path, default=Path(".telescope/transfer.jsonl"))
    parser.add_argument("--workers", type=int, default=2)
    given = parsed(parser, arms=["adamw-mup"], steps=10)
    if unknown := set(given.arms) - set(ARMS):
        parser.error(f"no such arm: {', '.join(sorted(unknown))}; known are {', '.join(ARMS)}")
    for name in given.arms or ARMS:
        show(name, ARMS[name], run(ARMS[name], given.steps, given.store, given.workers))


if __name__ == "__main__":
    main()
