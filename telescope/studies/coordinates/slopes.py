"""How the changes that the first training steps cause in each layer grow with width.

There are two kinds of change in each layer: the change of its output, and the part of this change
that is due to the layer's own update (`telescope.train.probes`). For each seed, the slope of log2
of the RMS change against log2 of width is fitted by least squares. The result is the mean slope
over seeds. Its interval is a Student t interval. One standard deviation, pooled over the slopes of
all layers and both kinds of change, is used for all intervals. Each slope is compared with GATE.
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
    """The growth of one kind of change in a layer with width."""

    layer: str
    # the change of the layer's output (`moved`), or the part due to the layer's own update (`own`)
    part: Literal["moved", "own"]
    slope: float
    low: float  # lower end of the 90 % interval
    high: float  # upper end
    verdict: CoordinateVerdict
    sizes: tuple[float, ...]  # log2 of the RMS change at each width, as a mean over seeds


def slopes(widths: Sequence[int], trials: Sequence[Trial]) -> tuple[LayerSlope, ...]:
    """The slope, interval and verdict of each change that was measured in every run, the steepest
    first. The trials must have at least two seeds."""
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
    """A layer's slope with its verdict. `name` is the name of the metric: `moved/` or `own/`,
    followed by the name of the layer. `half_width` is half the length of the slope's interval.
    `sizes` are log2 of the RMS change at each width.

    The slope fails if its whole interval lies beyond the gate, and the growth over the widest
    doubling lies beyond the same end of the gate. The second condition rules out effects that only
    narrow models show. A slope that does not fail passes if it is within the gate; otherwise, it is
    unresolved.
    """
    part, _, layer = name.partition("/")
    last = sizes[-1] - sizes[-2]  # growth over the widest doubling
    beyond_gate = min(slope - half_width, last) > GATE or max(slope + half_width, last) < -GATE
    verdict: CoordinateVerdict = "pass" if abs(slope) <= GATE else "unresolved"
    return LayerSlope(
        layer=layer,
        part="own" if part == "own" else "moved",
        slope=round(slope, 4),
        low=round(slope - half_width, 4),
        high=round(slope + half_width, 4),
        verdict="fail" if beyond_gate else verdict,
        sizes=tuple(round(size, 4) for size in sizes),
    )
