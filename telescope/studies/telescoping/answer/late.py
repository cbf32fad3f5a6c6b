"""The late coordinate check: whether the parametrisation still holds at the end of the runs.

The coordinate check before a search trains for a few steps only. It cannot see effects that need
time, above all the effects of weight decay. Therefore runs measure two sizes at their end: the size
of the hidden matrices, and the size of the last update (`telescope.train.probes`). The late check
compares these sizes between the widths of a *ladder*. A ladder is the search of one optimizer over
growing widths, its *levels*.

For each quantity, a least-squares fit to the runs near the optimum gives the slope of log2 size in
log2 width. The swept hyperparameters, called *axes*, also differ between these runs, so the fit has
a further slope for each axis. There is no report if the fit cannot separate the effects of the axes
from the effect of width.

A *block* is a set of runs with one seed around the expected optimum of a level. If a ladder has
finite losses in blocks, as under the schedule `robust`, the runs near the optimum are those of the
blocks. Otherwise, as under `paper`, they are the runs that are at most an octave away, on each
axis, from the best point of their level.

The late check judges the slopes of the spectral norms of hidden matrices. The steepest slope that
passes is the *gate*. The coordinate check has the same gate. The slopes of last updates are
reported, but not judged: late gradients are mostly noise, and noise makes the norm of an AdamW step
fall with width even under a correct parametrisation. A failed late check does not end the study.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import stdtrit

from telescope.statistics.estimates import QUANTILE, Array
from telescope.studies.coordinates.slopes import GATE, CoordinateVerdict
from telescope.studies.telescoping.fold.progress import LadderProgress
from telescope.studies.telescoping.ladder.ladder import Point, argmin, outcomes
from telescope.studies.telescoping.late_evidence import LateReason, LateReport, LateSlope
from telescope.studies.telescoping.schedules.robust import BLOCK_STAGES
from telescope.train.probes import LATE
from telescope.trials.outcome import Trial

NEAR = 1.0  # most octaves, on any axis, between a run and the best point of its level
MOST_INFLATION = 5.0  # largest `inflation` at which there is a report
FEWEST_WIDTHS = 2
JUDGED = "spectral/"  # prefix of the quantities that are judged
VERDICTS: Mapping[str, CoordinateVerdict] = {  # by the code of the reason
    "beyond_gate": "fail",
    "within_gate": "pass",
    "across_gate": "unresolved",
}
CAUSE = (
    "a weight-decay rule that does not match its lr rule shows only at the end of the runs, "
    "not in the first steps"
)


def late_report(progress: LadderProgress) -> LateReport | None:
    """The late check of a ladder so far.

    None if fewer than two widths have runs near the optimum, or if no spectral norm was measured in
    all of these runs. None also if the runs are too few, or too alike, to separate the effect of
    width from the effects of the axes.
    """
    near = runs_near_best(progress)
    widths = tuple(sorted({trial.spec.model.width for _, trial in near}))
    names = sorted(name for name in (near[0][1].metrics if near else ()) if name.startswith(LATE))
    names = [name for name in names if all(trial.metrics.get(name, 0.0) > 0 for _, trial in near)]
    if len(widths) < FEWEST_WIDTHS or not any(name.startswith(LATE + JUDGED) for name in names):
        return None
    x = design_matrix([point for point, _ in near], [trial.spec.model.width for _, trial in near])
    if len(near) <= np.linalg.matrix_rank(x) or inflation(x) > MOST_INFLATION:
        return None
    log_sizes = np.log2([[trial.metrics[name] for name in names] for _, trial in near])
    by_name = slopes_in_log_width(x, log_sizes, names)
    slopes = tuple(sorted(by_name, key=lambda late: (-abs(late.slope), late.name)))
    verdict, because = late_verdict(slopes, widths)
    return LateReport(verdict, late_words(because), slopes, widths, len(near), because)


def runs_near_best(progress: LadderProgress) -> list[tuple[Point, Trial]]:
    """The runs of the ladder's blocks that have a finite loss.

    If there are no such runs, the result is the runs with a finite loss that are at most NEAR
    octaves away, on each axis, from the best point of their level. The first level without a finite
    loss is then left out, and so are all wider levels.
    """
    ladder, trials = progress.ladder, dict(progress.trials)
    block_stages = [stage for stage in progress.done if stage.name in BLOCK_STAGES]
    corners = {o.point for stage in block_stages for o in stage.outcomes if o.finite}
    if corners:
        return [(point, trials[point]) for point in sorted(corners)]
    near: list[tuple[Point, Trial]] = []
    for level in range(ladder.levels):
        finite = [o for o in outcomes(progress.done, level) if o.finite]
        if not finite:
            break
        best = argmin(finite)
        points = [
            o.point
            for o in finite
            if all(abs(a - b) <= NEAR for a, b in zip(o.point.x, best, strict=True))
        ]
        near += [(point, trials[point]) for point in points]
    return near


def design_matrix(points: Sequence[Point], widths: Sequence[int]) -> Array:
    """The regressors [run, column]: log2 width, a constant, and the centred octaves of each axis on
    which the runs differ.
    """
    axes = np.array([point.x for point in points])
    columns = [np.log2(widths), np.ones(len(points)), *(axes - axes.mean(axis=0)).T]
    return np.stack([column for column in columns if np.any(column)], axis=1)


def inflation(x: Array) -> float:
    """The variance inflation factor of log2 width, column 0 of the regressors `x`: the factor by
    which the other columns raise the variance of the slope.
    """
    log_width, others = x[:, 0] - x[:, 0].mean(), x[:, 1:]
    residual = log_width - others @ np.linalg.lstsq(others, log_width, rcond=None)[0]
    return float(log_width @ log_width / max(residual @ residual, 1e-12))


def slopes_in_log_width(x: Array, log_sizes: Array, names: Sequence[str]) -> list[LateSlope]:
    """The slope in log2 width of each quantity in `log_sizes` [run, name], with a 90 % interval."""
    inverse = np.linalg.pinv(x.T @ x)
    fitted = inverse @ x.T @ log_sizes  # [column, name]
    dof = len(x) - int(np.linalg.matrix_rank(x))
    standard_errors = np.sqrt(np.sum((log_sizes - x @ fitted) ** 2, axis=0) / dof * inverse[0, 0])
    half_widths = float(stdtrit(dof, QUANTILE)) * standard_errors
    return [
        late_slope(name.removeprefix(LATE), float(slope), float(half_width))
        for name, slope, half_width in zip(names, fitted[0], half_widths, strict=True)
    ]


def late_slope(name: str, slope: float, half_width: float) -> LateSlope:
    """The slope of a quantity, with its interval. Only slopes of spectral norms have a verdict."""
    low, high = slope - half_width, slope + half_width
    beyond = low > GATE or high < -GATE
    verdict: CoordinateVerdict | None = None
    if name.startswith(JUDGED):
        verdict = "fail" if beyond else "pass" if abs(slope) <= GATE else "unresolved"
    return LateSlope(name, round(slope, 4), round(low, 4), round(high, 4), verdict)


def late_verdict(
    slopes: Sequence[LateSlope], widths: Sequence[int]
) -> tuple[CoordinateVerdict, LateReason]:
    """The verdict of the late check, and its reason. The steepest slope comes first in `slopes`."""
    judged = [slope for slope in slopes if slope.verdict]
    failed = [slope for slope in judged if slope.verdict == "fail"]
    all_pass = all(slope.verdict == "pass" for slope in judged)
    reason = LateReason(
        code="beyond_gate" if failed else "within_gate" if all_pass else "across_gate",
        worst=(failed or judged)[0],
        narrowest=widths[0],
        widest=widths[-1],
        judged=len(judged),
        gate=GATE,
    )
    return VERDICTS[reason.code], reason


def late_words(reason: LateReason) -> str:
    """The text of a late check's reason."""
    worst, gate = reason.worst, f"±{reason.gate}"
    law = f"width^{worst.slope:+.2f} ({worst.low:+.2f} to {worst.high:+.2f})"
    widths = f"over widths {reason.narrowest} to {reason.widest}"
    norm = f"the spectral norm of {worst.name.removeprefix(JUDGED)}"
    text = f"at the end of the runs {norm} scales as {law} {widths}"
    match reason.code:
        case "beyond_gate":
            return f"{text}, beyond the gate of {gate}; {CAUSE}"
        case "within_gate":
            return f"{text}, the steepest of {reason.judged} slopes; the gate is {gate}"
        case "across_gate":
            return f"{text}; this is beyond the gate of {gate}, but not clearly"
