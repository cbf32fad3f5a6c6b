"""Drift of the best learning rate (lr) with width.

    python -m benchmarks.transfer                       (all arms)
    python -m benchmarks.transfer muon-mup adamw-standard
    python -m benchmarks.transfer --quick

An arm is an optimizer with a parametrisation. Each arm trains the widths 32 to 256 on the corpus
python-stdlib, with three seeds. The learning rates form a grid with steps of one octave (a factor
of 2). Runs with equal seeds have equal initial values and data order.

The optimum of a width is the vertex of a parabola, fitted by least squares to the mean losses over
seeds at up to five learning rates: the best one, and two on each side. The drift is the slope of
the optima, in octaves, against log2 of the width, fitted by ordinary least squares. Its 90 %
interval comes from a parametric bootstrap: random losses are drawn with the noise of the arm, since
three seeds are too few to resample their losses. The noise is estimated from the residuals of the
losses after the mean of each learning rate and the shift of each seed are subtracted.

The arm muon-rms is Muon with the update scale 0.2 sqrt(max(in, out)), where in and out are the
dimensions of a matrix; AdamW's lr is fixed at 2^-5. It is trained once and evaluated under three lr
rules, by which the lr scales with the width multiplier m as a constant, as m^-1/2 or as 1/m. These
rules only change which runs count as the same lr at different widths.

Finished runs are stored in a JSON-lines file, so that an interrupted benchmark resumes.
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
    """An optimizer and its lr grid.

    `rules` are the lr rules under which the runs are evaluated. Each rule has a name, and the
    exponent of the width multiplier m by which the rule scales the lr.
    """

    optimizer: OptimizerSpec
    batch_tokens: int
    octaves: range  # log2 of each lr of the grid
    # Fixed lr of the parameters that AdamW trains in runs with Muon. None if this lr is a fixed
    # share of Muon's lr.
    adamw_lr: float | None = None
    rules: tuple[tuple[str, float], ...] = (("", 0.0),)


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
    """Yield (width, log2 lr, seed, spec) for all runs of an arm.

    The largest width comes first, so that the longest runs do not start last.
    """
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
    """Return the final losses [width, lr, seed] of an arm.

    Runs that are not in the file `store` are trained. The loss of a diverged run is inf.
    """
    store.parent.mkdir(parents=True, exist_ok=True)
    lines = store.read_text().splitlines() if store.exists() else []
    finished = dict(json.loads(line) for line in lines)  # final loss by digest
    planned = list(specs(arm, steps))
    missing = [spec for *_, spec in planned if spec.digest not in finished]
    with (
        ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool,
        store.open("a") as file,
    ):
        futures = {pool.submit(final_loss, spec): spec for spec in missing}
        for count, future in enumerate(as_completed(futures), start=1):
            digest = futures[future].digest
            finished[digest] = future.result()
            file.write(json.dumps([digest, finished[digest]]) + "\n")
            file.flush()
            print(f"\r{count}/{len(missing)} runs", end="", flush=True)
    print()
    losses = np.full((len(WIDTHS), len(arm.octaves), len(SEEDS)), np.inf)
    for width, octave, seed, spec in planned:
        index = WIDTHS.index(width), arm.octaves.index(octave), SEEDS.index(seed)
        losses[index] = finished[spec.digest]
    return losses


def vertex(octaves: Sequence[int], mean: NDArray[np.float64], window: slice) -> float:
    """Return the log2 lr at the vertex of the parabola that is fitted to the points in `window`.

    Points that diverged are left out. If the vertex lies outside the window, the nearer end of the
    window is returned. If the parabola has no minimum, the point with the lowest loss is returned.
    """
    x, y = np.asarray(octaves, float)[window], mean[window]
    finite = np.isfinite(y)
    curvature, slope, _ = np.polyfit(x[finite], y[finite], 2)
    if curvature <= 0:
        return float(x[np.argmin(y)])
    return float(np.clip(-slope / (2 * curvature), x[0], x[-1]))


@dataclass(frozen=True)
class Drift:
    """The optima of an arm, and the slope of the optima with its 90 % interval."""

    vertices: tuple[float, ...]  # log2 lr of the optimum at each width
    edges: tuple[bool, ...]  # for each width, True if the lowest mean loss is at an end of the grid
    slope: float  # octaves per doubling of the width
    low: float  # lower end of the interval of the slope
    high: float  # upper end of the interval of the slope
    noise: float  # standard deviation of the residual of one run, as a share of the loss


def drift(octaves: Sequence[int], losses: NDArray[np.float64], draws: int = 4000) -> Drift:
    mean = losses.mean(axis=2)  # (width, lr); inf where any seed diverged
    lowest = mean.argmin(axis=1)
    windows = [slice(max(0, i - 2), i + 3) for i in lowest]
    residual = losses - mean[:, :, None]
    near = [residual[w, windows[w]][np.isfinite(mean[w, windows[w]])] for w in range(len(WIDTHS))]
    near = [block - block.mean(axis=0) for block in near]  # subtract the shift of each seed
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
    """Return the loss at the log2 lr `x`, on the parabola through the nearest three grid points.

    Returns inf if `x` lies outside the grid.
    """
    if not octaves[0] <= x <= octaves[-1]:
        return math.inf
    middle = min(max(round(x) - octaves[0], 1), len(octaves) - 2)
    near = slice(middle - 1, middle + 2)
    return float(np.polyval(np.polyfit(np.asarray(octaves, float)[near], mean[near], 2), x))


def print_drift(name: str, arm: Arm, losses: NDArray[np.float64]) -> None:
    mean, fit = losses.mean(axis=2), drift(arm.octaves, losses)
    header = "".join(f"2^{octave:<6}" for octave in arm.octaves)
    print(f"\n{name} (batch {arm.batch_tokens} tokens)\nwidth  {header}vertex")
    for width, row, optimum, on_edge in zip(WIDTHS, mean, fit.vertices, fit.edges, strict=True):
        cells = "".join(f"{loss:<8.4f}" if math.isfinite(loss) else "div.    " for loss in row)
        print(f"{width:<7}{cells}{optimum:+.2f}{' on the edge' if on_edge else ''}")
    lowest = ", ".join(f"{loss:.4f}" for loss in mean.min(axis=1))
    print(f"the noise of one run is {100 * fit.noise:.2f} % of the loss")
    print(f"the lowest mean losses of the widths are {lowest}")
    best = arm.octaves[int(mean[0].argmin())]
    for rule, exponent in arm.rules:
        # Under a rule, the lr of a width is the lr of the base width times m^exponent. A fixed lr
        # of the base width thus stands for runs whose lr moves by `exponent` octaves per doubling.
        slope, low, high = (value - exponent for value in (fit.slope, fit.low, fit.high))
        copied = [loss_at(arm.octaves, row, best + exponent * w) for w, row in enumerate(mean)]
        print(
            f"{rule + ': ' if rule else ''}slope {slope:+.3f} octave per doubling, "
            f"90 % interval {low:+.3f} .. {high:+.3f}"
        )
        copied_losses = ", ".join(f"{loss:.4f}" for loss in copied)
        print(f"  losses of the widths at the best lr of the base width: {copied_losses}")
        regret = 100 * (copied[-1] / mean[-1].min() - 1)
        print(f"  excess over the lowest loss at width {WIDTHS[-1]}: {regret:.2f} %")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ", ".join(ARMS)
    parser.add_argument("arms", nargs="*", help=f"arms to run, by default all: {names}")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--store", type=Path, default=Path(".telescope/transfer.jsonl"))
    parser.add_argument("--workers", type=int, default=2)
    arguments = parsed(parser, arms=["adamw-mup"], steps=10)
    if unknown := set(arguments.arms) - set(ARMS):
        parser.error(f"there is no arm {', '.join(sorted(unknown))}; choose from {names}")
    for name in arguments.arms or ARMS:
        losses = run(ARMS[name], arguments.steps, arguments.store, arguments.workers)
        print_drift(name, ARMS[name], losses)


if __name__ == "__main__":
    main()
