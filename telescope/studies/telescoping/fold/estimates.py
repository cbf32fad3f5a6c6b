"""Estimates of a ladder's optimum at the target, from its finished stages of runs.

A *ladder* searches the hyperparameters of one optimizer at increasing widths, its *levels*. An
*axis* is one of these hyperparameters, in octaves (factors of 2). A *question* is the study's
document in checked form, and determines the *estimator*:

- `pooled` fits one model, the *pooled model*, to the runs of all levels.
- `per_level` fits each level by itself, and extrapolates to the target.
- `argmin` takes the best point at the widest level with a finite loss (`best_point`). Its interval
  on an axis reaches at least half a grid step to each side of the best point. If the pooled model
  has an estimate on the axis, the interval of `argmin` also includes the interval of this estimate.
"""

from collections.abc import Sequence

from telescope.statistics.estimates import Estimate
from telescope.studies.telescoping.ladder import per_level
from telescope.studies.telescoping.ladder.ladder import (
    Done,
    Ladder,
    argmin,
    outcomes,
    pool,
    pooled_fit,
)
from telescope.studies.telescoping.ladder.pooled import pooled_at_target
from telescope.studies.telescoping.question.question import Question
from telescope.studies.telescoping.schedules import windows


def best_point(
    question: Question, ladder: Ladder, done: Sequence[Done], level: int
) -> tuple[float, ...]:
    """The best point run at a level, in octaves by axis. Under `schedule: paper`, the option
    `select` defines which point is best. Otherwise the best point is that of lowest mean loss.
    """
    return (
        windows.optimum(ladder, done, level, question.paper)
        if question.schedule == "paper"
        else argmin(outcomes(done, level))
    )


def around_argmin(done: Sequence[Done], axis: int, x: float, pooled: Estimate | None) -> Estimate:
    """The best value `x` of an axis as an estimate. Its interval is the smallest one that includes
    half a grid step to each side of `x` and, if `pooled` is given, the interval of `pooled`.
    """
    half = last_step(done, axis) / 2
    low, high = (pooled.low, pooled.high) if pooled else (x, x)
    return Estimate(x, min(low, x - half), max(high, x + half))


def last_step(done: Sequence[Done], axis: int) -> float:
    """Octaves between neighbouring values of an axis, in the last stage that has two values or more
    on this axis. For the scattered points of a sampler, the result is an average. The result is 0
    if no stage has two values on this axis.
    """
    for stage in reversed(done):
        points = {o.point.x for o in stage.outcomes}
        columns: list[list[float]] = [sorted(set(column)) for column in zip(*points, strict=True)]
        values = columns[axis]
        if len(values) > 1 and len(values) == len(points):
            per_axis: float = len(points) ** (1 / sum(len(column) > 1 for column in columns))
            return float((values[-1] - values[0]) / (per_axis - 1))
        if len(values) > 1:
            return float(values[1] - values[0])
    return 0.0


def target_estimates(
    question: Question, ladder: Ladder, done: Sequence[Done]
) -> dict[int, Estimate]:
    """The estimate of each axis at the target, in octaves, by the question's estimator. The keys
    are the indices of the axes.

    An axis without an estimate by this estimator gets its best value, with an interval of length 0.
    Under `schedule: robust`, the best value is that in the first stage with a finite loss. Under
    `schedule: paper`, the best value is that at the widest level with a finite loss. There must be
    at least one finished stage.
    """
    pooled = pooled_estimates(ladder, done)
    widest = max((o.point.level for o in outcomes(done) if o.finite), default=0)
    if question.estimated_by == "argmin":
        best = best_point(question, ladder, done, widest)
        return {i: around_argmin(done, i, x, pooled.get(i)) for i, x in enumerate(best)}
    best = (
        (lowest_of(done) or done[0].outcomes[0].point.x)
        if question.schedule == "robust"
        else best_point(question, ladder, done, widest)
    )
    fitted = (
        per_level.carried_to_target(ladder, done)
        if question.estimated_by == "per_level"
        else pooled
    )
    return {i: Estimate(x, x, x) for i, x in enumerate(best)} | fitted


def lowest_of(done: Sequence[Done]) -> tuple[float, ...] | None:
    """The point of lowest mean loss in the first stage that has a finite loss, in octaves by axis.
    `None` if no stage has a finite loss.
    """
    return next(
        (argmin(stage.outcomes) for stage in done if any(o.finite for o in stage.outcomes)), None
    )


def pooled_estimates(ladder: Ladder, done: Sequence[Done]) -> dict[int, Estimate]:
    """The pooled model's estimate of each fitted axis at the target, in octaves. Empty if the model
    cannot be fitted.
    """
    if pooled_fit(ladder, done) is None:
        return {}
    estimates = pooled_at_target(pool(ladder, done), ladder.layout)
    return dict(zip(ladder.fitted, estimates, strict=True)) if estimates else {}
