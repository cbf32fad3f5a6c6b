"""The report on each width of a ladder, the drift of the optimum, and the cost of the ladder.

A *ladder* is the search of one optimizer over growing widths, its *levels*. Each swept
hyperparameter is an *axis*; its values are in octaves (factors of 2). The pooled model describes
the losses of all levels together.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from telescope.statistics.estimates import Estimate
from telescope.studies.telescoping.answer.wording import edges_words
from telescope.studies.telescoping.evidence import (
    CheckCost,
    Cost,
    Drift,
    LevelCost,
    LevelReport,
    digits,
    from_estimate,
    interval,
)
from telescope.studies.telescoping.fold.estimates import around_argmin, best_point
from telescope.studies.telescoping.fold.progress import LadderProgress
from telescope.studies.telescoping.fold.specs import target_spec
from telescope.studies.telescoping.ladder import per_level
from telescope.studies.telescoping.ladder.ladder import (
    Done,
    Ladder,
    argmin,
    outcomes,
    seed_means,
    seed_noise,
)
from telescope.studies.telescoping.ladder.pooled import Fit
from telescope.studies.telescoping.question.question import Question
from telescope.studies.telescoping.reasons import Edge, Side
from telescope.studies.telescoping.schedules import blocks, edges, paper
from telescope.studies.telescoping.schedules.places import OptimumPlace, axes_at
from telescope.train.flops import trial_flops
from telescope.trials.outcome import Trial


def level_report(
    question: Question, progress: LadderProgress, fit: Fit | None, level: int
) -> LevelReport:
    """The report on a level, with the optimum by the study's estimator."""
    ladder, done = progress.ladder, progress.done
    optimum = level_estimates(ladder, fit, level) if fit else {}
    if question.estimated_by == "per_level":
        optimum = per_level.level_optimum(per_level.vertices(ladder, done), level)
    elif question.estimated_by == "argmin":
        best = best_point(question, ladder, done, level)
        stages = [stage for stage in done if all(o.point.level <= level for o in stage.outcomes)]
        optimum = {
            i: around_argmin(stages, i, best[i], estimate) for i, estimate in optimum.items()
        }
    level_edges = edges_of(question, progress, fit, level)
    return replace(
        report_without_edges(ladder, done, fit, level, optimum),
        edge=edges_words(level_edges) or None,
        edges=level_edges,
    )


def report_without_edges(
    ladder: Ladder, done: Sequence[Done], fit: Fit | None, level: int, optimum: dict[int, Estimate]
) -> LevelReport:
    """The report on a level, without the edges at which the level's optimum lies.

    `optimum` holds the estimate of the level's optimum by axis. On an axis without an estimate, the
    reported optimum is the value of the best point. If all runs of the level diverged, the report
    has no optimum.
    """
    results = outcomes(done, level)
    columns = {
        axis.name: sorted({o.point.x[i] for o in results}) for i, axis in enumerate(ladder.axes)
    }
    means = seed_means(results)
    finite = [loss for loss in means.values() if math.isfinite(loss)]
    fitted_loss, noise = fit.floor(level) if fit else None, seed_noise(results)
    estimates, lowest = (optimum, argmin(results)) if any(o.finite for o in results) else ({}, ())
    centres = dict(enumerate(lowest)) | {i: estimate.value for i, estimate in estimates.items()}
    return LevelReport(
        level=level,
        width=ladder.widths[level],
        window={name: interval(xs[0], xs[-1], name) for name, xs in columns.items()},
        grid={
            name: tuple(sorted(from_estimate(x, name) for x in xs)) for name, xs in columns.items()
        },
        stages=tuple(
            dict.fromkeys(s.name for s in done if any(o.point.level == level for o in s.outcomes))
        ),
        trials=len(results),
        diverged=sum(not o.finite for o in results),
        optimum={
            axis.name: from_estimate(centres[i], axis.name)
            for i, axis in enumerate(ladder.axes)
            if i in centres
        },
        interval={
            ladder.axes[i].name: interval(e.low, e.high, ladder.axes[i].name)
            for i, e in estimates.items()
        },
        best_loss=digits(min(finite)) if finite else None,
        fitted_loss=digits(fitted_loss) if fitted_loss is not None else None,
        seed_noise=digits(noise) if noise is not None else None,
        edge=None,
    )


def level_estimates(ladder: Ladder, fit: Fit, level: int) -> dict[int, Estimate]:
    """The pooled model's estimates of a level's optimum, in octaves, by fitted axis."""
    estimates = {}
    for j, i in enumerate(ladder.fitted):
        x = float(fit.optima[level, j])
        half = fit.quantile * fit.sd_of(fit.optima_gradient[level, j])
        estimates[i] = Estimate(x, x - half, x + half)
    return estimates


def edges_of(
    question: Question, progress: LadderProgress, fit: Fit | None, level: int
) -> tuple[Edge, ...]:
    """The edges (ends of the values tried) at which a level's optimum lies.

    Under `robust`, only the narrowest level and the widest level so far can have edges. The widest
    level, unless it is the narrowest, has an edge on each axis on which its optimum lies outside
    the last block. A block is a set of runs with one seed.
    """
    ladder, done = progress.ladder, progress.done
    if question.schedule == "paper":
        return edges_at(ladder, paper.reported_edges(ladder, done, level, question.paper, fit))
    if level == 0:
        return edges_at(ladder, edges.base_window_edges(ladder, done))
    if fit and level == blocks.top_level(done):
        outside = axes_at(blocks.top_places(ladder, done, fit), OptimumPlace.OUTSIDE_BLOCK)
        return tuple(Edge(ladder.axes[i].name, Side.OUTSIDE_LAST_BLOCK) for i in outside)
    return ()


def edges_at(ladder: Ladder, sides: Iterable[tuple[int, int]]) -> tuple[Edge, ...]:
    """The edges of the pairs (axis, side) in `sides`. A side of -1 is the end with the lowest
    octaves, and a side of +1 is the end with the highest octaves.
    """
    return tuple(Edge(ladder.axes[i].name, Side(ladder.axes[i].side(side))) for i, side in sides)


def drift(fit: Fit, levels: int) -> Drift | None:
    """The least-squares slope of the learning rate's optimum over the first `levels` levels, in
    octaves per doubling of the width. None if `levels` is below two.
    """
    if levels < 2:
        return None
    i = np.array(fit.layout.level_doublings[:levels])
    weights = (i - i.mean()) / np.sum((i - i.mean()) ** 2)
    slope = float(weights @ fit.optima[:levels, 0])
    half = fit.quantile * fit.sd_of(weights @ fit.optima_gradient[:levels, 0])
    return Drift(digits(slope), digits(slope - half), digits(slope + half))


def cost(question: Question, progress: LadderProgress) -> Cost:
    """The cost of a ladder so far. A run that was reused from another job counts as a trial that
    costs nothing. But `share` and `saving` include the original FLOPs of reused runs.
    """
    ladder = progress.ladder
    levels = [level_cost(progress, level, width) for level, width in enumerate(ladder.widths)]
    at_target = level_cost(progress, ladder.levels, ladder.target_width)
    check = check_cost(progress)
    parts: list[LevelCost | CheckCost] = [*levels, at_target, check]
    trials = (*progress.check.trials, *(trial for _, trial in progress.trials))
    tuning_flops = math.fsum(trial.flops for trial in trials)
    final = final_run_flops(question, ladder)
    full_grid = math.prod(axis.points for axis in ladder.axes) * ladder.seeds * final
    return Cost(
        levels=tuple(levels),
        trials=sum(part.trials for part in parts),
        tokens=sum(part.tokens for part in parts),
        flops=math.fsum(part.flops for part in parts),
        seconds=math.fsum(part.seconds for part in parts),
        reused=sum(trial.reused for trial in trials),
        final_run_flops=final,
        share=digits(final / (final + tuning_flops)),
        saving=digits(1 - (final + tuning_flops) / full_grid),
        validation=at_target if at_target.trials else None,
        coordinates=check if check.trials else None,
    )


def level_cost(progress: LadderProgress, level: int, width: int) -> LevelCost:
    """The cost of the runs at a level. `width` is the width of this level."""
    trials = [trial for point, trial in progress.trials if point.level == level]
    return LevelCost(width, len(trials), *paid(trials))


def check_cost(progress: LadderProgress) -> CheckCost:
    """The cost of the coordinate check."""
    return CheckCost(len(progress.check.trials), *paid(progress.check.trials))


def paid(trials: Sequence[Trial]) -> tuple[int, float, float]:
    """The tokens, FLOPs and seconds of all trials that were not reused from other jobs."""
    own = [trial for trial in trials if not trial.reused]
    return (
        sum(map(trained_tokens, own)),
        math.fsum(t.flops for t in own),
        math.fsum(t.seconds for t in own),
    )


def trained_tokens(trial: Trial) -> int:
    """The number of tokens that a trial was trained on, until it ended or diverged."""
    return trial.step * trial.spec.horizon.batch_tokens


def final_run_flops(question: Question, ladder: Ladder) -> float:
    """The FLOPs of a run at the target."""
    values = {axis.name: axis.value(axis.low) for axis in ladder.axes}  # any others would do
    return trial_flops(target_spec(question, ladder.optimizer, values))
