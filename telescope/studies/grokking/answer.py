"""The report of a grokking study, from its trials.

A cell is a task with a variant of softmax. It is *pending* while runs are missing, and
*unbracketed* if the best value of a search lies at an edge of the tried values. Any other cell is
*faster* or *slower* if the restricted means (means of times that are cut off at a common end) of
Muon and AdamW differ by the paired permutation test, after Holm's correction over the cells. If
they do not, the cell is *not told apart*. A study is *unresolved* if runs are missing or if it
ended prematurely. Any other study has the verdict of its cells if these agree; if they differ, the
verdict is *depends*. Verdicts rest on sustained generalisation; first crossings of 95 % accuracy
are only reported.

Parts: `answer` · `cell_rows` · `verdict` · `over_cells`, `pooled_test`.
"""

import math
from collections.abc import Sequence
from typing import get_args

from telescope.data.algorithmic import build_table
from telescope.statistics.group_tests import holm, log_rank, t_test
from telescope.statistics.survival import median_time, restricted_mean
from telescope.studies.endings import unfinished
from telescope.studies.grokking.comparison import (
    Comparison,
    cell_reason,
    compared,
    durations,
    finite_or_none,
    paired,
)
from telescope.studies.grokking.fold import ArmProgress, CellProgress, StudyProgress, progress
from telescope.studies.grokking.ledger import arm_cost, assumptions
from telescope.studies.grokking.question import Question
from telescope.studies.grokking.reasons import (
    Agreed,
    CellName,
    CellReason,
    Mixed,
    OneOptimizer,
    Reason,
    SingleCell,
    Told,
)
from telescope.studies.grokking.report import (
    GrokkingReport,
    OverCells,
    PooledTest,
    StudyVerdict,
)
from telescope.studies.grokking.rows import ArmRow, CellRow, CellVerdict, RatioRow
from telescope.studies.grokking.run_rows import run_rows
from telescope.studies.grokking.runs import Cell, EventName, RunTiming
from telescope.studies.grokking.wording import cell_words, words
from telescope.studies.kind import Ended
from telescope.trials.outcome import Trial
from telescope.trials.table import TableSpec

EVENTS: tuple[EventName, ...] = get_args(EventName)
PRIMARY: EventName = "sustained"  # the event on which verdicts rest


def answer(
    question: Question, trials: Sequence[Trial], ended: Ended | None = None
) -> GrokkingReport:
    """The report on the completed trials. It is final if no run is missing, or if the study ended
    prematurely."""
    study = progress(question, trials)
    rows = {event: cell_rows(question, study, event) for event in EVENTS}
    used = unique_trials(study)
    paid = [trial for trial in used if not trial.reused]
    decision, because = verdict(study, rows[PRIMARY], ended)
    return GrokkingReport(
        final=not study.missing or ended is not None,
        verdict=decision,
        reason=words(because),
        protocol=question.protocol,
        cells=tuple(row for event in (PRIMARY, "crossed") for row in rows[event]),
        over_cells=tuple(over_cells(study, event) for event in (PRIMARY, "crossed")),
        runs=run_rows(study),
        assumptions=assumptions(question),
        ledger=tuple(arm_cost(question, study, optimizer) for optimizer in question.optimizers),
        trials=len(used),
        reused=len(used) - len(paid),
        tokens=sum(trial.spec.tokens_until(trial.step) for trial in paid),
        flops=math.fsum(trial.flops for trial in paid),
        seconds=math.fsum(trial.seconds for trial in paid),
        because=because,
    )


def unique_trials(study: StudyProgress) -> list[Trial]:
    """The completed trials of all cells, each once."""
    arms = [arm for cell in study.cells for arm in cell.arms]
    return list({trial.digest: trial for arm in arms for trial in arm.trials}.values())


def cell_rows(question: Question, study: StudyProgress, event: EventName) -> tuple[CellRow, ...]:
    """The comparison in each cell. p-values are corrected for the number of all cells, not only of
    the complete ones, so that p-values do not grow as further cells become complete."""
    comparisons = [
        compared(pairs, event, len(study.cells)) if (pairs := paired(cell)) else None
        for cell in study.cells
    ]
    tested = [
        i for i, cell in enumerate(study.cells) if cell.complete and comparisons[i] is not None
    ]
    p_values = [comparison.test.p for i in tested if (comparison := comparisons[i])]
    adjusted = holm([*p_values, *[1.0] * (len(study.cells) - len(p_values))])
    p_holm = dict(zip(tested, adjusted, strict=False))
    return tuple(
        cell_row(
            question,
            cell,
            event,
            comparisons[i],
            cell_reason(
                cell, comparisons[i], p_holm.get(i), len(study.cells), question.runs.epochs
            ),
            p_holm.get(i),
        )
        for i, cell in enumerate(study.cells)
    )


def cell_row(
    question: Question,
    cell: CellProgress,
    event: EventName,
    comparison: Comparison | None,
    reason: CellReason,
    p_holm: float | None,
) -> CellRow:
    """The row of a cell."""
    steps_per_epoch = epoch_steps(question, cell.cell)
    ratios = comparison.ratios if comparison else ()
    return CellRow(
        task=cell.cell.table.title,
        softmax=cell.cell.softmax,
        event=event,
        verdict=verdict_of(reason),
        reason=cell_words(reason),
        majority_share=majority_share(cell.cell.table),
        budget_steps=question.runs.epochs * steps_per_epoch,
        budget_epochs=question.runs.epochs,
        evaluation_steps=question.runs.evaluate_epochs * steps_per_epoch,
        arms=tuple(arm_row(question, arm, event, steps_per_epoch) for arm in cell.arms),
        ratios=tuple(RatioRow(unit, e.value, e.low, finite_or_none(e.high)) for unit, e in ratios),
        ratio_least=comparison.least if comparison else None,
        ratio_most=comparison.most if comparison else None,
        pairs=comparison.steps.count if comparison else 0,
        p=comparison.test.p if comparison else None,
        p_holm=p_holm,
        smallest_p=comparison.test.smallest_p if comparison else None,
        rank_p=comparison.ranks.test.p if comparison else None,
        rank_smallest_p=comparison.ranks.test.smallest_p if comparison else None,
        chance_earlier=comparison.ranks.chance if comparison else None,
        log_rank_p=comparison.log_rank.p if comparison and comparison.log_rank else None,
        spread_ratio=comparison.spread.value if comparison and comparison.spread else None,
        spread_p=comparison.spread.test.p if comparison and comparison.spread else None,
        because=reason,
    )


def majority_share(table: TableSpec) -> float | None:
    """Share of the rows that have the most frequent answer. None for a user's table, since a report
    reads no files."""
    return None if table.task == "table" else build_table(table).majority_share


VERDICTS: dict[str, CellVerdict] = {
    "pending": "pending",
    "one_optimizer": "not_told_apart",
    "unbracketed": "unbracketed",
    "none_generalised": "not_told_apart",
    "not_told": "not_told_apart",
}


def verdict_of(reason: CellReason) -> CellVerdict:
    """The verdict that a reason stands for."""
    return reason.direction if isinstance(reason, Told) else VERDICTS[reason.code]


def epoch_steps(question: Question, cell: Cell) -> int:
    """Steps per epoch in a cell."""
    return cell.table.steps_per_epoch(question.runs.batch_rows * cell.table.context)


def arm_row(question: Question, arm: ArmProgress, event: EventName, steps_per_epoch: int) -> ArmRow:
    """The row of an optimizer in a cell."""
    runs = [arm.runs[seed] for seed in sorted(arm.runs)]
    times = durations(runs, event, "steps") if runs else None
    median = median_time(times) if times else None
    memorised = [
        run.milestones.memorised.step if run.milestones.memorised else run.trial.spec.horizon.steps
        for run in runs
    ]
    value = median.value if median else None
    return ArmRow(
        optimizer=arm.optimizer,
        lr=arm.values.lr if arm.values else None,
        weight_decay=arm.values.weight_decay if arm.values else None,
        adamw_lr_ratio=arm.values.adamw_lr_ratio if arm.values else None,
        runs=len(runs),
        generalised=int(times.reached.sum()) if times else 0,
        diverged=sum(run.trial.diverged for run in runs),
        collapsed=None
        if question.runs.stop
        else sum(run.milestones.collapsed is not None for run in runs),
        median_steps=value,
        median_low=median.low if median else None,
        median_high=median.high if median else None,
        median_epochs=value / steps_per_epoch if value is not None else None,
        mean_steps=restricted_mean(times, float(times.times.max())) if times else None,
        memorised_steps=math.fsum(memorised) / len(runs) if runs else None,
    )


def verdict(
    study: StudyProgress, rows: Sequence[CellRow], ended: Ended | None
) -> tuple[StudyVerdict, Reason]:
    """The study's verdict and its reason, from the rows of the primary event."""
    if reason := unfinished(ended, pending=bool(study.missing)):
        return "unresolved", reason
    verdicts = [row.verdict for row in rows]
    first = verdicts[0]
    single = len(rows) == 1 or isinstance(rows[0].because, OneOptimizer)
    if single and first != "pending":
        return first, SingleCell(cell=rows[0].because)
    if len(set(verdicts)) == 1 and first != "pending":
        test = over_cells(study, PRIMARY)
        return first, Agreed(
            verdict=first, cells=len(rows), chi2=test.log_rank_chi2, p=test.log_rank_p
        )

    def cells(verdict: CellVerdict) -> tuple[CellName, ...]:
        return tuple(
            CellName(task=row.task, softmax=row.softmax) for row in rows if row.verdict == verdict
        )

    return "depends", Mixed(
        faster=cells("faster"),
        slower=cells("slower"),
        not_told=cells("not_told_apart"),
        unbracketed=cells("unbracketed"),
    )


def over_cells(study: StudyProgress, event: EventName) -> OverCells:
    """The tests over all cells."""
    pairs = [own for cell in study.cells if (own := paired(cell))]
    strata = [
        (
            durations([muon for _, muon in own], event, "steps"),
            durations([adamw for adamw, _ in own], event, "steps"),
        )
        for own in pairs
    ]
    test = log_rank(strata)
    timings = [pair for own in pairs for pair in own]
    return OverCells(
        event=event,
        log_rank_chi2=test.chi2 if test else None,
        log_rank_p=test.p if test else None,
        pooled=pooled_test(timings, event, len(pairs)),
    )


def pooled_test(
    timings: Sequence[tuple[RunTiming, RunTiming]], event: EventName, cells: int
) -> PooledTest | None:
    """The paper's test (see `PooledTest`). None if an optimizer has fewer than two runs that
    generalised, or if the epochs vary for neither optimizer."""
    adamw, muon = (
        [
            epochs
            for pair in timings
            if (epochs := pair[arm].epochs(pair[arm].reached(event))) is not None
        ]
        for arm in (0, 1)
    )
    test = t_test(adamw, muon, equal_variances=True)
    if test is None:
        return None
    left_out = 2 * len(timings) - len(adamw) - len(muon)
    faults = ["the runs are paired by seed, and the test treats them as independent"]
    if cells > 1:
        faults.append(f"it pools {cells} cells, so differences between cells count as noise")
    if left_out:
        faults.append(f"it leaves out the runs that never generalised: {left_out}")
    return PooledTest(
        adamw_mean_epochs=test.mean_a,
        muon_mean_epochs=test.mean_b,
        t=test.t,
        df=test.df,
        p=test.p,
        runs=test.n,
        left_out=left_out,
        faults=tuple(faults),
    )
