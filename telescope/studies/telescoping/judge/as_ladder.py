"""A sweep as a ladder: each width is a level, each swept column an axis, each width's runs a stage.

Widths need not double from level to level: a level lies log2(width / narrowest width) doublings up.
An axis is fitted if some width has finite losses at three of its values; otherwise the values are
only compared.

Parts: `ladder_of` · `near_optimum`, the runs that the pooled model is fitted to.
"""

import math

from telescope.studies.telescoping.axes import Axis, AxisName
from telescope.studies.telescoping.judge.sweep import Sweep, SweepRun
from telescope.studies.telescoping.ladder.ladder import Done, Ladder, Outcome, Point, argmin

NEAR = 2.0 + 1e-9  # octaves of lr to each side of the lowest point


def ladder_of(sweep: Sweep, target_width: int) -> tuple[Ladder, tuple[Done, ...]]:
    """The sweep as a ladder, and its runs as one stage per width."""
    names: list[AxisName] = (
        ["lr", "weight_decay"] if len(weight_decays_tried(sweep)) > 1 else ["lr"]
    )
    ladder = Ladder(
        optimizer="adamw",  # unused: nothing is planned
        widths=sweep.widths,
        target_width=target_width,
        axes=tuple(axis_of(sweep, name) for name in names),
        costs=tuple((width / sweep.widths[0]) ** 2 for width in sweep.widths),
    )
    seeds = {seed: i for i, seed in enumerate(sorted({row.seed for row in sweep.rows}))}

    def outcome(row: SweepRun) -> Outcome:
        x = tuple(octaves(row, name) for name in names)
        return Outcome(Point(sweep.widths.index(row.width), x, seeds[row.seed]), row.loss)

    stages = [
        sorted(outcome(row) for row in sweep.rows if row.width == width) for width in sweep.widths
    ]
    return ladder, tuple(Done("sweep", tuple(stage)) for stage in stages)


def axis_of(sweep: Sweep, name: AxisName) -> Axis:
    """A swept column as an axis. The axis has as many points as the width with the most values;
    values at which every run diverged do not count, unless every run of the sweep diverged.
    """
    tried = {octaves(row, name) for row in sweep.rows}
    counts = [
        len({octaves(row, name) for row in sweep.rows if row.width == width and row.finite})
        for width in sweep.widths
    ]
    return Axis(name, min(tried), max(tried), max(counts) or len(tried), extend=True)


def octaves(row: SweepRun, name: AxisName) -> float:
    """The value of a run's hyperparameter, in octaves; 0 for a weight decay of 0, or for none."""
    return math.log2(row.lr if name == "lr" else row.weight_decay or 1.0)


def weight_decays_tried(sweep: Sweep) -> list[float]:
    """The weight decays tried, ascending; empty without a column for them."""
    return sorted({row.weight_decay for row in sweep.rows if row.weight_decay is not None})


def near_optimum(stage: Done) -> Done:
    """The runs of a width to which the pooled model is fitted: the runs within NEAR octaves in lr
    of the lowest point, and the runs at the next lr with a finite loss on either side.

    A sweep contains the whole grid at every width. Far from the optimum, real bowls deviate from
    the model, and the many far points would outweigh the few that determine the optimum. With the
    far points, a 90 % interval can contain the true value in only 60 % of cases; without the far
    points, it does so in 90 %.
    """
    lowest = argmin(stage.outcomes)[0]
    tried = sorted({o.point.x[0] for o in stage.outcomes if o.finite})
    next_rates = {*[x for x in tried if x < lowest][-1:], *[x for x in tried if x > lowest][:1]}
    near = [
        o
        for o in stage.outcomes
        if abs(o.point.x[0] - lowest) <= NEAR or o.point.x[0] in next_rates
    ]
    return Done(stage.name, tuple(near))
