"""A sweep in the form of a ladder, which is telescope's own search at increasing widths.

Each width is a *level* of the ladder. Each swept column of the sweep (`lr`, and `weight_decay` if
it varies) is an *axis*, in octaves (factors of 2). All runs of a width form one *stage*. The widths
need not be doublings of each other. An axis is *fitted* if it has three values or more, as counted
by `axis_of`. The *pooled* model, a statistical model of the losses at all widths, then estimates an
optimum along the axis. Otherwise the values of the axis are only compared.
"""

import math

from telescope.studies.telescoping.axes import Axis, AxisName
from telescope.studies.telescoping.judge.sweep import Sweep, SweepRun
from telescope.studies.telescoping.ladder.ladder import Done, Ladder, Outcome, Point, argmin

NEAR = 2.0 + 1e-9  # octaves of lr to each side of the point with the lowest loss


def ladder_of(sweep: Sweep, target_width: int) -> tuple[Ladder, tuple[Done, ...]]:
    """The sweep as a ladder, and its runs as one stage per width, narrowest first."""
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
    """A swept column as an axis.

    The number of points on the axis is the largest number of values that any width has. Values at
    which every run of the width diverged do not count. If every run of the sweep diverged, the
    number of points is the number of all values tried.
    """
    tried = {octaves(row, name) for row in sweep.rows}
    counts = [
        len({octaves(row, name) for row in sweep.rows if row.width == width and row.finite})
        for width in sweep.widths
    ]
    return Axis(name, min(tried), max(tried), max(counts) or len(tried), extend=True)


def octaves(row: SweepRun, name: AxisName) -> float:
    """The value of a run's hyperparameter, in octaves. A weight decay that is 0 or missing counts
    as 0 octaves.
    """
    return math.log2(row.lr if name == "lr" else row.weight_decay or 1.0)


def weight_decays_tried(sweep: Sweep) -> list[float]:
    """The weight decays tried, ascending. Empty if the sweep states none."""
    return sorted({row.weight_decay for row in sweep.rows if row.weight_decay is not None})


def near_optimum(stage: Done) -> Done:
    """The runs of a width that are passed to the pooled model, which itself leaves out diverged
    runs. These are the runs within NEAR octaves in lr of the point with the lowest loss, and the
    runs at the next lower and the next higher lr with a finite loss.

    A sweep often contains the whole grid at every width. Far from the optimum, real losses deviate
    from the pooled model, and many far points would outweigh the few points that determine the
    optimum. If far points are included, a 90 % interval may contain the true value in only 60 % of
    cases. If far points are left out, the interval contains the true value in 90 % of cases.
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
