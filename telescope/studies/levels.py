"""What happened at each width of a ladder, how did the optimum move, and what did it cost?"""

import math
from collections.abc import Sequence

import numpy as np

from telescope.flops import step_flops, trial_flops
from telescope.statistics import Estimate
from telescope.studies import blocks, edges
from telescope.studies.ladder import Done, Ladder, Outcome, argmin, outcomes, seed_means
from telescope.studies.pooled import Fit
from telescope.studies.report import Cost, Drift, Interval, LevelCost, LevelReport, digits, from_estimate
from telescope.studies.telescoping import Progress, Telescope
from telescope.trial import Trial


def level_report(study: Telescope, found: Progress, fit: Fit | None, level: int) -> LevelReport:
    """What is known about one width."""
    ladder, here = found.ladder, outcomes(found.done, level)
    columns = {axis.name: sorted({o.point.x[i] for o in here}) for i, axis in enumerate(ladder.axes)}
    best = argmin(here)
    fitted = level_estimates(ladder, fit, level) if fit else {}
    if study.schedule == "paper":
        fitted = {i: around_argmin(found.done[: level + 1], i, best[i], estimate) for i, estimate in fitted.items()}
    centres = dict(enumerate(best)) | {i: estimate.value for i, estimate in fitted.items()}
    means = seed_means(here)
    finite = [loss for loss in means.values() if math.isfinite(loss)]
    floor = fit.floor(level) if fit else None
    return LevelReport(
        level=level,
        width=ladder.widths[level],
        window={name: Interval(from_estimate(xs[0]), from_estimate(xs[-1])) for name, xs in columns.items()},
        grid={name: tuple(map(from_estimate, xs)) for name, xs in columns.items()},
        stages=tuple(dict.fromkeys(s.name for s in found.done if any(o.point.level == level for o in s.outcomes))),
        trials=len(here),
        diverged=sum(not o.finite for o in here),
        optimum={axis.name: from_estimate(centres[i]) for i, axis in enumerate(ladder.axes)},
        interval={ladder.axes[i].name: Interval(from_estimate(e.low), from_estimate(e.high)) for i, e in fitted.items()},
        best_loss=digits(min(finite)) if finite else None,
        fitted_loss=digits(floor) if floor is not None else None,
        seed_noise=seed_noise(here),
        edge=edge_of(study, found, fit, level),
    )


def level_estimates(ladder: Ladder, fit: Fit, level: int) -> dict[int, Estimate]:
    """The fitted optimum at a level, in octaves per axis."""
    estimates = {}
    for j, i in enumerate(ladder.fitted):
        x, half = float(fit.optima[level, j]), fit.quantile * fit.sd_of(fit.optima_gradient[level, j])
        estimates[i] = Estimate(x, x - half, x + half)
    return estimates


def around_argmin(done: Sequence[Done], axis: int, x: float, pooled: Estimate | None) -> Estimate:
    """`paper`'s own value with the interval of the pooled model, if any, widened to hold it and half its last step to each side."""
    half = last_step(done, axis) / 2
    low, high = (pooled.low, pooled.high) if pooled else (x, x)
    return Estimate(x, min(low, x - half), max(high, x + half))


def last_step(done: Sequence[Done], axis: int) -> float:
    """Octaves between the points of the last grid that compared any on this axis; 0 where none did."""
    for stage in reversed(done):
        values = sorted({o.point.x[axis] for o in stage.outcomes})
        if len(values) > 1:
            return values[1] - values[0]
    return 0.0


def seed_noise(found: Sequence[Outcome]) -> float | None:
    """Pooled standard deviation of one run between seeds at the same point, in % of the loss."""
    losses: dict[tuple[float, ...], list[float]] = {}
    for outcome in found:
        if outcome.finite:
            losses.setdefault(outcome.point.x, []).append(outcome.loss)
    repeated = [np.array(values) for values in losses.values() if len(values) > 1]
    if not repeated:
        return None
    squares = sum(float(np.sum((v / v.mean() - 1) ** 2)) for v in repeated)
    return digits(100 * math.sqrt(squares / sum(len(v) - 1 for v in repeated)))


def edge_of(study: Telescope, found: Progress, fit: Fit | None, level: int) -> str | None:
    """The borders that this level's optimum lies at, in words."""
    ladder = found.ladder
    at: list[str] = []
    if study.schedule == "paper":
        at = [f"{ladder.axes[i].name}: {'low' if side < 0 else 'high'}" for i, side in edges.paper_edges(found.done[level].outcomes)]
    elif level == 0:
        at = [f"{ladder.axes[i].name}: {'low' if side < 0 else 'high'}" for i, side in edges.edges(ladder, found.done)]
    elif fit and level == blocks.top_level(found.done):
        at = [f"{ladder.axes[i].name}: outside its last block" for i in blocks.off_centre(ladder, found.done, fit)]
    return ", ".join(at) or None


def drift(fit: Fit, levels: int) -> Drift | None:
    """Least-squares slope of the learning rate's optimum over the levels run."""
    if levels < 2:
        return None
    i = np.arange(levels) - (levels - 1) / 2
    weights = i / (i @ i)
    slope = float(weights @ fit.optima[:levels, 0])
    half = fit.quantile * fit.sd_of(weights @ fit.optima_gradient[:levels, 0])
    return Drift(digits(slope), digits(slope - half), digits(slope + half))


def cost(study: Telescope, found: Progress) -> Cost:
    """The bill so far."""
    ladder = found.ladder
    levels = []
    for level, width in enumerate(ladder.widths):
        here = [trial for point, trial in found.trials if point.level == level]
        flops, seconds = math.fsum(t.flops for t in here), math.fsum(t.seconds for t in here)
        levels.append(LevelCost(width, len(here), sum(map(tokens_of, here)), flops, seconds))
    final = final_run_flops(study, ladder)
    tuning = math.fsum(level.flops for level in levels)
    full = math.prod(axis.points for axis in ladder.axes) * ladder.seeds * final
    return Cost(
        levels=tuple(levels),
        trials=sum(level.trials for level in levels),
        tokens=sum(level.tokens for level in levels),
        flops=tuning,
        seconds=math.fsum(level.seconds for level in levels),
        reused=0,
        final_run_flops=final,
        share=digits(final / (final + tuning)),
        saving=digits(1 - (final + tuning) / full),
    )


def tokens_of(trial: Trial) -> int:
    """What a trial was trained on: one that diverged stopped early."""
    return round(trial.flops / step_flops(trial.spec)) * trial.spec.horizon.batch_tokens


def final_run_flops(study: Telescope, ladder: Ladder) -> float:
    """One run at the target."""
    return trial_flops(study.spec(ladder.optimizer, ladder.target_width, {axis.name: 1.0 for axis in ladder.axes}))
