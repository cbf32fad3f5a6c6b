"""The growth with width of each layer's change in the first steps.

Per layer and kind of change (`telescope.train.probes`), the slope of log2 RMS against log2 width is
fitted by least squares for each seed. The interval of the mean slope is a Student t interval over
seeds, with one standard deviation pooled over all layers. Each slope is compared with GATE.

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
"""The exponent of width, of either sign, up to which a change counts as constant in size."""

CoordinateVerdict = Literal["pass", "fail", "unresolved", "skipped"]


@dataclass(frozen=True)
class LayerSlope:
    """The growth of a layer's change with width."""

    layer: str
    # the change of the layer's output (`moved`), or the part of it due to its own update (`own`)
    part: Literal["moved", "own"]
    slope: float
    low: float  # ends of the 90 % interval
    high: float
    verdict: CoordinateVerdict
    sizes: tuple[float, ...]  # log2 RMS at each width, mean over seeds


def slopes(widths: Sequence[int], trials: Sequence[Trial]) -> tuple[LayerSlope, ...]:
    """Slope and interval of each change that every run measured, the steepest first; needs at least
    two seeds."""
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
    """A layer's slope with its verdict; `name` is a metric, `half_width` is half the interval.

    The layer fails only if its whole interval and its growth over the widest doubling both lie
    beyond the gate: an effect that only narrow models show does not count. Otherwise, the layer
    passes if its slope is within the gate, and is unresolved if not.
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
