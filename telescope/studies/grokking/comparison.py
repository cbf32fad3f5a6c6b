"""The comparison of Muon with AdamW in a cell, from the times at which its runs generalised.

A cell is a task with a variant of softmax. A run generalises at an evaluation, and the time of this
event is counted in steps, FLOPs or seconds of training. The verdict rests on the paired permutation
test of the ratio of restricted means (means of times that are cut off at a common end), in steps.
Other tests are only reported.

Parts: `PairedTimes`, the paired times of a cell · `Comparison` and `compared` · `cell_reason`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from telescope.statistics.estimates import Estimate
from telescope.statistics.group_tests import (
    LogRank,
    MannWhitney,
    SpreadRatio,
    TestResult,
    log_rank,
    mann_whitney,
    paired_permutation,
    spread_ratio,
)
from telescope.statistics.survival import Durations, pairs_needed, ratio_of_means, restricted_mean
from telescope.studies.grokking.fold import CellProgress
from telescope.studies.grokking.reasons import (
    CellPending,
    CellReason,
    MeanRatio,
    NoneGeneralised,
    NotTold,
    OneOptimizer,
    SpeedVerdict,
    Told,
    Unbracketed,
)
from telescope.studies.grokking.runs import EventName, RunTiming, Unit

ALPHA = 0.05
UNITS: tuple[Unit, ...] = ("steps", "flops", "seconds")


@dataclass(frozen=True, eq=False)
class PairedTimes:
    """The times of both optimizers in a unit, paired by seed."""

    adamw: Durations
    muon: Durations
    until: float  # for restricted means, times are cut off here

    @property
    def count(self) -> int:
        """Number of pairs."""
        return len(self.adamw.times)

    @property
    def any_reached(self) -> bool:
        """True if a run reached the event by `until`; False if `until` is NaN."""
        groups = (self.adamw, self.muon)
        return any(bool((group.times[group.reached] <= self.until).any()) for group in groups)


@dataclass(frozen=True, eq=False)
class Comparison:
    """The numbers that compare the optimizers in a cell, for one definition of generalisation."""

    steps: PairedTimes
    # AdamW's restricted mean divided by Muon's, in the units of `ratios_of`
    ratios: tuple[tuple[Unit, Estimate], ...]
    # Bounds of the ratio in steps; None if no run reached the event. The true time of an event lies
    # between two evaluations. `ratios` uses the later evaluation for all events. `least` uses the
    # earlier evaluation for AdamW's events, and `most` uses it for Muon's events.
    least: float | None
    most: float | None
    test: TestResult  # the paired permutation test
    ranks: MannWhitney
    log_rank: LogRank | None
    # compares the spread of Muon's times with the spread of AdamW's. None if a run is censored:
    # censored runs end with the same budget, as if they had generalised at the same time
    spread: SpreadRatio | None
    pairs_needed: int | None


def paired(cell: CellProgress) -> list[tuple[RunTiming, RunTiming]]:
    """The pairs of finished runs of AdamW and Muon with equal seeds, in the order of the seeds."""
    adamw, muon = cell.arm("adamw"), cell.arm("muon")
    if adamw is None or muon is None:
        return []
    seeds = sorted(adamw.runs.keys() & muon.runs.keys())
    return [(adamw.runs[seed], muon.runs[seed]) for seed in seeds]


def pairs_of(
    timings: Sequence[tuple[RunTiming, RunTiming]],
    event: EventName,
    unit: Unit,
    earliest: tuple[bool, bool] = (False, False),
) -> PairedTimes:
    """The paired times in a unit. `earliest` says, for AdamW and for Muon, whether times are those
    of the evaluation before the one at which the event was found. A run that did not reach the
    event is censored at the end of its budget."""
    adamw, muon = (
        durations([pair[arm] for pair in timings], event, unit, early)
        for arm, early in enumerate(earliest)
    )
    return PairedTimes(adamw, muon, common_end(adamw, muon))


def durations(
    runs: Sequence[RunTiming], event: EventName, unit: Unit, earliest: bool = False
) -> Durations:
    """The times of runs in a unit; a run that did not reach the event is censored at the end of its
    budget."""
    times = [run.time(event, unit, earliest) for run in runs]
    known = [
        end_of(run, unit) if time is None else time for run, time in zip(runs, times, strict=True)
    ]
    return Durations(np.array(known), np.array([time is not None for time in times]))


def end_of(run: RunTiming, unit: Unit) -> float:
    """The time at which the budget of a run ends, extrapolated at the run's pace if the run
    diverged. A reused run has no seconds of its own, so its pace in seconds follows from the
    evaluation at which it crossed 95 % held-out accuracy or, if it did not, memorised the training
    rows. If it did neither, its end in seconds is NaN."""
    trial = run.trial
    steps = float(trial.spec.horizon.steps)
    if unit == "steps":
        return steps
    milestones = run.milestones
    if unit == "flops":
        return (trial.flops - milestones.evaluation_flops) * steps / max(1, trial.step)
    if not trial.reused:
        return (trial.seconds - milestones.evaluation_seconds) * steps / max(1, trial.step)
    latest = run.milestones.crossed or run.milestones.memorised
    return latest.seconds * steps / latest.step if latest else math.nan


def common_end(adamw: Durations, muon: Durations) -> float:
    """The time up to which all runs of both groups were observed: the earliest end of a run that
    did not reach the event. If all runs reached the event, the latest time."""
    ends = np.concatenate([group.times[~group.reached] for group in (adamw, muon)])
    latest = max(float(adamw.times.max()), float(muon.times.max()))
    return float(ends.min()) if len(ends) else latest


def compared(
    timings: Sequence[tuple[RunTiming, RunTiming]], event: EventName, cells: int
) -> Comparison:
    """The comparison of one or more pairs of runs. `cells` is the number of cells in the study, for
    which `pairs_needed` is corrected."""
    steps = pairs_of(timings, event, "steps")
    adamw, muon, until = steps.adamw, steps.muon, steps.until
    return Comparison(
        steps=steps,
        ratios=tuple(ratios_of(timings, event)),
        least=ratio_bound(timings, event, (True, False)) if steps.any_reached else None,
        most=ratio_bound(timings, event, (False, True)) if steps.any_reached else None,
        test=paired_permutation(adamw, muon, until),
        ranks=mann_whitney(muon, adamw),
        log_rank=log_rank([(muon, adamw)]),
        spread=None if adamw.censored or muon.censored else spread_ratio(muon, adamw, until),
        pairs_needed=pairs_needed(adamw, muon, until, ALPHA / cells),
    )


def ratios_of(
    timings: Sequence[tuple[RunTiming, RunTiming]], event: EventName
) -> Iterator[tuple[Unit, Estimate]]:
    """The ratios of restricted means. A unit is left out if the times of a run are unknown in it,
    or if no run reached the event before the means are cut off."""
    for unit in UNITS:
        pairs = pairs_of(timings, event, unit)
        if pairs.any_reached:
            yield unit, ratio_of_means(pairs.adamw, pairs.muon, pairs.until)


def ratio_bound(
    timings: Sequence[tuple[RunTiming, RunTiming]], event: EventName, earliest: tuple[bool, bool]
) -> float:
    """The ratio of restricted means in steps, with `earliest` as in `pairs_of`."""
    pairs = pairs_of(timings, event, "steps", earliest)
    muon = max(restricted_mean(pairs.muon, pairs.until), 1.0)
    return restricted_mean(pairs.adamw, pairs.until) / muon


def finite_or_none(value: float) -> float | None:
    """The value; None if it is infinite or NaN."""
    return value if math.isfinite(value) else None


def cell_reason(
    cell: CellProgress, comparison: Comparison | None, p_holm: float | None, cells: int, epochs: int
) -> CellReason:
    """The reason for a cell's verdict; `cells` is the number of cells that p is corrected for."""
    if not cell.complete:
        return CellPending()
    if comparison is None or p_holm is None:
        return OneOptimizer()
    edges = tuple(edge for arm in cell.arms if arm.search for edge in arm.search.edges)
    if edges:
        return Unbracketed(edges=edges)
    steps = comparison.steps
    if not steps.any_reached:
        return NoneGeneralised(epochs=epochs)
    estimate = dict(comparison.ratios)["steps"]
    ratio = MeanRatio(value=estimate.value, low=estimate.low, high=finite_or_none(estimate.high))
    failed_searches = tuple(
        arm.optimizer for arm in cell.arms if arm.search and not arm.search.generalised
    )
    if p_holm < ALPHA:
        direction: SpeedVerdict = "faster" if ratio.value > 1 else "slower"
        return Told(
            direction=direction,
            p=p_holm,
            pairs=steps.count,
            ratio=ratio,
            failed_searches=failed_searches,
        )
    return NotTold(
        p=p_holm,
        smallest_p=min(1.0, comparison.test.smallest_p * cells),
        pairs=steps.count,
        pairs_needed=comparison.pairs_needed,
        ratio=ratio,
        failed_searches=failed_searches,
    )
