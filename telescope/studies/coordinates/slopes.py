"""The growth of each layer's change in the first steps with width.

Per layer and kind of change (`telescope.train.probes`), the slope of log2 RMS on log2 width is
fitted by least squares per seed; its interval comes from the seeds, by Student's t with one
standard deviation pooled over the layers. Each slope is compared with the gate of the coordinate
check.

Parts: `GATE` · `LayerSlope` · `slopes`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import stdtrit

from telescope.statistics.estimates import QUANTILE
from telescope.train.probes import MOVED, OWN
from telescope.trials.outcome import Trial

GATE = 0.25
"""The exponent of width up to which an update counts as constant in size."""

CoordinateVerdict = Literal["pass", "fail", "unresolved", "skipped"]


@dataclass(frozen=True)
class LayerSlope:
    """The growth of a layer's change with width."""

    layer: str
    part: Literal["moved", "own"]  # the change of its output, or its own update's contribution
    slope: float
    low: float
    high: float
    verdict: CoordinateVerdict
    sizes: tuple[float, ...]  # log2 RMS at each width, mean over seeds


def slopes(widths: Sequence[int], trials: Sequence[Trial]) -> tuple[LayerSlope, ...]:
    """Slope and interval of every change that all runs measured, the steepest first."""
    seeds = sorted({trial.spec.seed for trial in trials})
    found = {(trial.spec.model.width, trial.spec.seed): trial.metrics for trial in trials}
    names = [
        name
        for name in trials[0].metrics
        if name.startswith((MOVED, OWN)) and all(name in trial.metrics for trial in trials)
    ]
    if not names:
        return ()
    # (names, seeds, widths)
    sizes = np.array(
        [[[found[width, seed][name] for width in widths] for seed in seeds] for name in names]
    )
    x = np.log2(widths) - np.log2(widths).mean()
    per_seed = sizes @ x / (x @ x)  # (names, seeds)
    pooled = math.sqrt(float(per_seed.var(axis=1, ddof=1).mean()))
    half = float(stdtrit(len(seeds) - 1, QUANTILE)) * pooled / math.sqrt(len(seeds))
    means = per_seed.mean(axis=1)
    mean_sizes = sizes.mean(axis=1).tolist()
    layers = [
        slope_of(name, float(mean), half, size)
        for name, mean, size in zip(names, means, mean_sizes, strict=True)
    ]
    return tuple(sorted(layers, key=lambda layer: (-abs(layer.slope), layer.part, layer.layer)))


def slope_of(name: str, slope: float, half: float, sizes: Sequence[float]) -> LayerSlope:
    """A layer's slope, judged by the gate; a failure must also show in the widest doubling, where
    effects of narrow models have died out.
    """
    part, _, layer = name.partition("/")
    last = sizes[-1] - sizes[-2]
    beyond = min(slope - half, last) > GATE or max(slope + half, last) < -GATE
    verdict: CoordinateVerdict = (
        "fail" if beyond else "pass" if abs(slope) <= GATE else "unresolved"
    )
    low, high = round(slope - half, 4), round(slope + half, 4)
    return LayerSlope(
        layer,
        "own" if part == "own" else "moved",
        round(slope, 4),
        low,
        high,
        verdict,
        tuple(round(x, 4) for x in sizes),
    )
