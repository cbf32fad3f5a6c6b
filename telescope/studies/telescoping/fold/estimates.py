"""Estimates of a ladder's optimum at the target, from its finished stages of runs.

A *ladder* searches the hyperparameters of one optimizer at increasing widths, its *levels*. An
*axis* is one of these hyperparameters, in octaves (factors of 2). The question names the
*estimator*: `pooled` fits one model to all levels, `per_level` fits each level by itself, and
`argmin` takes the best point at the widest level with a finite loss. The best point has no interval
of its own. The interval of `argmin` is the smallest one that includes half a grid step to each side
of the best point and, if the pooled model estimates an optimum on the axis, the interval of that
estimate.
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
    `select` defines which point is best. Otherwise it is the point of lowest mean loss.
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
    on this axis. For the scattered points of a sampler, this is an average. The result is 0 if no
    stage has two values.
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
    """The estimate of each axis at the target, in octaves, by the estimator that the question
    names.

    An axis that the estimator does not cover gets its best value, with an interval of length 0.
    Under `schedule: robust`, this is its best value in the first stage with a finite loss. Under
    `schedule: paper`, it is its best value at the widest level with a finite loss.
    """
    pooled = pooled_estimates(ladder, done)
    top = max((o.point.level for o in outcomes(done) if o.finite), default=0)
    if question.estimated_by == "argmin":
        best = best_point(question, ladder, done, top)
        return {i: around_argmin(done, i, x, pooled.get(i)) for i, x in enumerate(best)}
    best = (
        (lowest_of(done) or done[0].outcomes[0].point.x)
        if question.schedule == "robust"
        else best_point(question, ladder, done, top)
    )
    fitted = (
        per_level.carried_to_target(ladder, done)
        if question.estimated_by == "per_level"
        else pooled
    )
    return {i: Estimate(x, x, x) for i, x in enumerate(best)} | fitted


def lowest_of(done: Sequence[Done]) -> tuple[float, ...] | None:
    """The x with the lowest mean loss in the first stage that has a finite loss. `None` without
    such a stage.
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
