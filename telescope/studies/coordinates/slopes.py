"""Slopes: how the changes of layers' outputs in the first training steps grow with width.

Two kinds of change are measured (`telescope.train.probes`): the change of a layer's output, and the
part of this change that is due to the layer's own update. The logits count as a layer. For each
seed, the slope of log2 of the RMS change against log2 of width is fitted by least squares. The
slope of a change is the mean over seeds, with a Student t interval. All intervals use the same
standard deviation, pooled over all changes. The slopes are compared with GATE.
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
"""A change counts as constant in size if it grows as a power of width with an exponent from -GATE
to GATE. This range of exponents is called the gate."""

CoordinateVerdict = Literal["pass", "fail", "unresolved", "skipped"]


@dataclass(frozen=True)
class LayerSlope:
    """The slope of one kind of change in one layer."""

    layer: str  # the path of the layer in the model, or `logits`
    # the change of the layer's output (`moved`), or the part due to the layer's own update (`own`)
    part: Literal["moved", "own"]
    slope: float
    low: float  # lower end of the 90 % interval
    high: float  # upper end
    verdict: CoordinateVerdict
    sizes: tuple[float, ...]  # log2 of the RMS change at each width, as a mean over seeds


def slopes(widths: Sequence[int], trials: Sequence[Trial]) -> tuple[LayerSlope, ...]:
    """The slopes of the changes that were measured in every run, the steepest first. There must be
    at least two seeds, and a trial for each width and seed."""
    seeds = sorted({trial.spec.seed for trial in trials})
    metrics = {(trial.spec.model.width, trial.spec.seed): trial.metrics for trial in trials}
    names = [
        name
        for name in trials[0].metrics
        if name.startswith((MOVED, OWN)) and all(name in trial.metrics for trial in trials)
    ]
    if not names:
        return ()
    sizes = np.array(  # [name, seed, width]
        [[[metrics[width, seed][name] for width in widths] for seed in seeds] for name in names]
    )
    x = np.log2(widths) - np.log2(widths).mean()
    per_seed = sizes @ x / (x @ x)  # [name, seed]
    pooled = math.sqrt(float(per_seed.var(axis=1, ddof=1).mean()))
    half_width = float(stdtrit(len(seeds) - 1, QUANTILE)) * pooled / math.sqrt(len(seeds))
    means = per_seed.mean(axis=1)
    mean_sizes = sizes.mean(axis=1).tolist()
    layers = [
        judged_slope(name, float(mean), half_width, layer_sizes)
        for name, mean, layer_sizes in zip(names, means, mean_sizes, strict=True)
    ]
    return tuple(sorted(layers, key=lambda layer: (-abs(layer.slope), layer.part, layer.layer)))


def judged_slope(name: str, slope: float, half_width: float, sizes: Sequence[float]) -> LayerSlope:
    """A slope with its verdict. `name` is the name of the metric: `moved/` or `own/`, followed by
    the name of the layer. `half_width` is half the length of the slope's interval. `sizes` are log2
    of the RMS change at each width.

    The slope fails if its whole interval lies above the gate, or if its whole interval lies below
    the gate. The slope over the widest doubling alone must lie on the same side. This second
    condition rules out effects that only narrow models show. If the slope does not fail, the
    verdict is `pass` for a slope within the gate, and otherwise `unresolved`.
    """
    part, _, layer = name.partition("/")
    last = sizes[-1] - sizes[-2]  # slope over the widest doubling
    fails = min(slope - half_width, last) > GATE or max(slope + half_width, last) < -GATE
    verdict: CoordinateVerdict = "pass" if abs(slope) <= GATE else "unresolved"
    return LayerSlope(
        layer=layer,
        part="own" if part == "own" else "moved",
        slope=round(slope, 4),
        low=round(slope - half_width, 4),
        high=round(slope + half_width, 4),
        verdict="fail" if fails else verdict,
        sizes=tuple(round(size, 4) for size in sizes),
    )
