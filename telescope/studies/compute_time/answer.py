"""The report of a compute-time study, from its trials.

The report compares the tokens that Muon and AdamW need to reach each target loss, by batch size.
The verdict is `resolved` if all planned runs are completed, the study did not end prematurely, and
there are no doubts about the answer. Otherwise, the verdict is `unresolved`. There are doubts in
these cases:

- The document names no target loss, or asks for a single seed.
- With some optimizer, batch size and seed, the runs did not reach a target loss, or their loss was
  low enough at the first point of the curve already.
- Some hyperparameters are `extrapolated`: they come from the nearest batch size that is tuned or
  given.
- There is a doubt about hyperparameters (`HyperparameterDoubt` in the module `reasons`).

The report on a running study covers its trials so far.

Parts: `answer`, the report · `target_answer` · `verdict`, `answer_doubts` · `batch_report`.
"""

import math
from collections.abc import Iterator, Sequence

from telescope.statistics.token_ratio import Direction, Standing
from telescope.studies.compute_time.analysis import Analysis
from telescope.studies.compute_time.fold import BatchProgress, StudyProgress, progress
from telescope.studies.compute_time.ledger import (
    ledger_entry,
    source_jobs,
    tokens_after_branch,
    trials_of_batch,
    unique_trials,
)
from telescope.studies.compute_time.question import Question
from telescope.studies.compute_time.reasons import (
    Borrowed,
    Doubt,
    Doubted,
    NoTargets,
    OneSeed,
    OptimizerBatch,
    Reason,
    Resolved,
    RunsCensored,
    RunsDiverged,
    RunsEarly,
)
from telescope.studies.compute_time.report import (
    AtTarget,
    BatchReport,
    ComparisonVerdict,
    OptimizerComparison,
)
from telescope.studies.compute_time.rows import BatchRow, RatioAnswer
from telescope.studies.compute_time.times import measured_step_seconds
from telescope.studies.compute_time.wording import doubts_words, no_answer_words, words
from telescope.studies.endings import unfinished
from telescope.studies.kind import Ended
from telescope.trials.outcome import Trial


def answer(
    question: Question, trials: Sequence[Trial], ended: Ended | None = None
) -> OptimizerComparison:
    """The report on a study, from its completed trials. It is final if all planned runs are
    completed, or if the study ended prematurely."""
    study_progress = progress(question, trials)
    searches, batches = study_progress.searches, study_progress.batches
    analysis = Analysis.after(question, study_progress)
    targets = tuple(
        target_answer(analysis, loss) for loss in sorted(question.target_losses, reverse=True)
    )
    decision, because = verdict(question, study_progress, targets, ended)
    used = unique_trials(
        *(search.progress.trials for search in searches), *map(trials_of_batch, batches)
    )
    paid = [trial for trial in used if not trial.reused]
    high, low = analysis.loss_range or (None, None)
    return OptimizerComparison(
        final=not study_progress.missing or ended is not None,
        verdict=decision,
        reason=words(because),
        read=analysis.read,
        highest_loss=high,
        lowest_loss=low,
        targets=targets,
        batches=tuple(batch_report(batch) for batch in batches if batch.setting),
        ledger=tuple(
            ledger_entry(question, optimizer, study_progress) for optimizer in question.optimizers
        ),
        trials=len(used),
        reused=len(used) - len(paid),
        tokens=sum(map(tokens_after_branch, paid)),
        flops=math.fsum(trial.flops for trial in paid),
        seconds=math.fsum(trial.seconds for trial in paid),
        because=because,
    )


def target_answer(analysis: Analysis, target_loss: float) -> AtTarget:
    """The answer to a target loss."""
    if no_answer := analysis.no_answer(target_loss):
        return AtTarget(
            target_loss=target_loss,
            reached=False,
            muon=None,
            sentence=no_answer_words(no_answer),
            batches=None,
            ratio=None,
            dominance=None,
            because=no_answer,
        )
    batches, ratio = analysis.batch_sizes(target_loss), analysis.token_ratio(target_loss)
    return AtTarget(
        target_loss=target_loss,
        reached=True,
        muon=standing(ratio),
        sentence=answer_sentence(ratio),
        batches=batches,
        ratio=ratio,
        dominance=analysis.frontier(target_loss).dominance,
    )


def standing(ratio: RatioAnswer) -> Standing | None:
    """Muon's standing over all batches: ahead if Muon is ahead at some batches and behind at none,
    behind if Muon is behind at some batches and ahead at none, and otherwise unresolved. None
    without rows."""
    clear = {row.muon for row in ratio.rows} - {Standing.UNRESOLVED}
    if not ratio.rows:
        return None
    return clear.pop() if len(clear) == 1 else Standing.UNRESOLVED


def answer_sentence(ratio: RatioAnswer) -> str:
    """The answer to a target loss, as text."""
    if not ratio.rows:
        return ratio.note
    values = [row.ratio for row in ratio.rows if row.ratio is not None and row.pairs]
    if not values:
        return (
            "every ratio may be only a bound, because each batch has a run that gives only a bound "
            "or has no seed with which both optimizers reached the loss"
        )
    span = f"{min(values):.2f} to {max(values):.2f}" if len(values) > 1 else f"{values[0]:.2f}"
    clear = [row for row in ratio.rows if row.muon is not Standing.UNRESOLVED]
    share = f"{len(clear)} of {len(ratio.rows)} batches"
    text = f"AdamW needs {span} times Muon's tokens, a clear difference at {share}"
    match ratio.trend:
        case Direction.RISING:
            return f"{text}; the ratio rises with the batch"
        case Direction.FALLING:
            return f"{text}; the ratio falls with the batch"
        case Direction.UNRESOLVED:
            return f"{text}; it is not resolved whether the ratio rises or falls with the batch"
        case None:
            start = ratio.trend_from_batch_tokens
            cause = (
                "the tokens of at least one optimizer do not rise with the batch, over the batches "
                "without a run that gives only a bound"
                if start is None
                else f"a trend needs two batches of at least {start:.0f} tokens, at each of which "
                "both optimizers reached the loss with the same seed"
            )
            return f"{text}; whether the advantage lasts is unknown, because {cause}"


def verdict(
    question: Question,
    study_progress: StudyProgress,
    targets: Sequence[AtTarget],
    ended: Ended | None,
) -> tuple[ComparisonVerdict, Reason]:
    """The verdict and its reason."""
    if reason := unfinished(ended, pending=bool(study_progress.missing)):
        return "unresolved", reason
    if doubts := tuple(answer_doubts(question, study_progress, targets)):
        return "unresolved", Doubted(doubts=doubts)
    return "resolved", Resolved(tuned=question.tuning is not None, jobs=source_jobs(question.given))


def answer_doubts(
    question: Question, study_progress: StudyProgress, targets: Sequence[AtTarget]
) -> Iterator[Doubt]:
    """The doubts about a report. If several batches have the same doubt about hyperparameters, it
    is given once."""
    batches = [batch for batch in study_progress.batches if batch.setting]
    yield from dict.fromkeys(
        doubt for batch in batches if batch.setting for doubt in batch.setting.doubts
    )
    if extrapolated := [
        batch for batch in batches if batch.setting and batch.setting.source == "extrapolated"
    ]:
        yield Borrowed(batches=optimizer_batches(extrapolated))
    if not targets:
        yield NoTargets()
    for target in targets:
        yield from target_doubts(target)
    if question.seeds < 2:
        yield OneSeed()


def target_doubts(target: AtTarget) -> Iterator[Doubt]:
    """The doubts about the answer to a target loss."""
    if target.because:
        yield target.because
    rows, loss = target.batches.rows if target.batches else (), target.target_loss
    if censored := [row for row in rows if row.censored]:
        yield RunsCensored(target_loss=loss, batches=optimizer_batches(censored))
    if diverged := [row for row in rows if row.diverged]:
        yield RunsDiverged(target_loss=loss, batches=optimizer_batches(diverged))
    if early := [row for row in rows if row.early]:
        yield RunsEarly(target_loss=loss, batches=optimizer_batches(early))


def optimizer_batches(
    rows: Sequence[BatchRow] | Sequence[BatchProgress],
) -> tuple[OptimizerBatch, ...]:
    """The optimizer and the batch of each row."""
    return tuple(
        OptimizerBatch(optimizer=row.optimizer, batch_tokens=row.batch_tokens) for row in rows
    )


def batch_report(batch: BatchProgress) -> BatchReport:
    """The report on an optimizer at a batch. The batch must have a setting."""
    assert batch.setting is not None, "only batches with a setting are reported"
    courses = batch.courses
    return BatchReport(
        optimizer=batch.optimizer,
        batch_tokens=batch.batch_tokens,
        lr=batch.setting.optimizer.lr,
        weight_decay=batch.setting.optimizer.weight_decay,
        source=batch.setting.source,
        doubt=doubts_words(batch.setting.doubts),
        runs=sum(len(course.trials) for course in courses),
        diverged=sum(trial.diverged for course in courses for trial in course.trials),
        trained_tokens=max(
            (float(course.tokens[-1]) for course in courses if len(course.tokens)), default=0.0
        ),
        lowest_loss=min(
            (float(course.loss.min()) for course in courses if len(course.loss)), default=None
        ),
        step_seconds=measured_step_seconds(batch.timed),
        run_seconds=math.fsum(trial.seconds for trial in trials_of_batch(batch)),
    )
