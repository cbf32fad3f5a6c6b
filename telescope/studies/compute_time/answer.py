"""The report of a compute-time study, from its trials.

`Analysis` answers each target loss. The verdict is `resolved` where every batch of every optimizer
reached the lowest target, with hyperparameters that raise no doubt. The report on a running study
covers the trials so far.

Parts: `answer` · `target_answer` · `verdict`, `answer_doubts` · `batch_report` · `granted`.
"""

import math
from collections.abc import Iterator, Sequence

from telescope.parametrisation.mup import UNDECAYED
from telescope.statistics.token_ratio import Direction, Standing
from telescope.studies.compute_time.analysis import Analysis
from telescope.studies.compute_time.fold import BatchProgress, StudyProgress, progress
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
    RunsPending,
    StudyStopped,
)
from telescope.studies.compute_time.report import (
    AtTarget,
    BatchReport,
    Granted,
    OptimizerComparison,
    Verdict,
)
from telescope.studies.compute_time.rows import BatchAnswer, BatchRow, RatioAnswer
from telescope.studies.compute_time.times import measured_step_seconds
from telescope.studies.compute_time.tuning import weight_decays_to_compare
from telescope.studies.compute_time.wording import doubts_words, origin_words, unread_words, words
from telescope.studies.kind import Ended
from telescope.trials.outcome import Trial
from telescope.trials.types import OptimizerName


def answer(
    question: Question, trials: Sequence[Trial], ended: Ended | None = None
) -> OptimizerComparison:
    """The report on the completed trials; final where no run is missing, or where `ended` gives the
    reason why none will follow.
    """
    now = progress(question, trials)
    analysis = Analysis.after(question, now)
    targets = tuple(
        target_answer(analysis, loss) for loss in sorted(question.target_losses, reverse=True)
    )
    found, because = verdict(question, now, targets, ended)
    every = {
        trial.digest: trial
        for one in (*(one.tuned.trials for one in now.searches), *map(trials_of_batch, now.batches))
        for trial in one
    }
    paid = [trial for trial in every.values() if not trial.reused]
    high, low = analysis.reached or (None, None)
    return OptimizerComparison(
        final=not now.missing or ended is not None,
        verdict=found,
        reason=words(because),
        read=analysis.read,
        highest_loss=high,
        lowest_loss=low,
        targets=targets,
        batches=tuple(batch_report(one) for one in now.batches if one.setting),
        ledger=tuple(granted(question, optimizer, now) for optimizer in question.optimizers),
        trials=len(every),
        reused=len(every) - len(paid),
        tokens=sum(map(tokens_after_branch, paid)),
        flops=math.fsum(trial.flops for trial in paid),
        seconds=math.fsum(trial.seconds for trial in paid),
        because=because,
    )


def target_answer(analysis: Analysis, target_loss: float) -> AtTarget:
    """The answer to a target loss."""
    if unread := analysis.unread(target_loss):
        return AtTarget(
            target_loss=target_loss,
            reached=False,
            muon=None,
            sentence=unread_words(unread),
            batches=None,
            ratio=None,
            dominance=None,
            because=unread,
        )
    batches, ratio = analysis.batch_sizes(target_loss), analysis.token_ratio(target_loss)
    return AtTarget(
        target_loss=target_loss,
        reached=True,
        muon=standing(ratio),
        sentence=answer_sentence(batches, ratio),
        batches=batches,
        ratio=ratio,
        dominance=analysis.frontier(target_loss).dominance,
    )


def standing(ratio: RatioAnswer) -> Standing | None:
    """Muon's standing over all batches, if those with a clear standing agree."""
    clear = {row.muon for row in ratio.rows} - {Standing.UNRESOLVED}
    if not ratio.rows:
        return None
    return clear.pop() if len(clear) == 1 else Standing.UNRESOLVED


def answer_sentence(batches: BatchAnswer, ratio: RatioAnswer) -> str:
    """The answer to a target, as text."""
    if not ratio.rows:
        return ratio.note
    known = [row.ratio for row in ratio.rows if row.ratio is not None and row.pairs]
    if not known:
        return "at no batch did all runs of both optimizers reach the loss: the ratios are bounds"
    span = f"{min(known):.2f} to {max(known):.2f}" if len(known) > 1 else f"{known[0]:.2f}"
    clear = [row for row in ratio.rows if row.muon is not Standing.UNRESOLVED]
    share = f"{len(clear)} of {len(ratio.rows)} batches"
    text = f"AdamW needs {span} times Muon's tokens, a clear difference at {share}"
    match ratio.trend:
        case Direction.RISING:
            return f"{text}; the ratio rises with the batch"
        case Direction.FALLING:
            return f"{text}; the ratio falls with the batch"
        case Direction.UNRESOLVED:
            return f"{text}; whether the ratio falls with the batch is not resolved"
        case None:
            few = "fewer than two batches lie beyond both critical batches"
            return f"{text}; whether it lasts is unknown, because {few}"


def verdict(
    question: Question, now: StudyProgress, targets: Sequence[AtTarget], ended: Ended | None
) -> tuple[Verdict, Reason]:
    """The verdict and its reason."""
    if ended:
        return "unresolved", StudyStopped(by=ended.cause, detail=ended.detail)
    if now.missing:
        return "unresolved", RunsPending()
    if found := tuple(answer_doubts(question, now, targets)):
        return "unresolved", Doubted(doubts=found)
    return "resolved", Resolved(tuned=question.tuning is not None, jobs=source_jobs(question))


def answer_doubts(
    question: Question, now: StudyProgress, targets: Sequence[AtTarget]
) -> Iterator[Doubt]:
    """The doubts about an answer; doubts that batches share are listed once."""
    for shared in dict.fromkeys(one.setting.doubts for one in now.batches if one.setting):
        yield from shared
    if borrowed := [
        one for one in now.batches if one.setting and one.setting.source == "extrapolated"
    ]:
        yield Borrowed(batches=optimizer_batches(borrowed))
    if not targets:
        yield NoTargets()
    for target in targets:
        yield from target_doubts(target)
    if question.seeds < 2:
        yield OneSeed()


def target_doubts(target: AtTarget) -> Iterator[Doubt]:
    """The doubts about the answer to a loss."""
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
    """The optimizers and their batches."""
    return tuple(
        OptimizerBatch(optimizer=row.optimizer, batch_tokens=row.batch_tokens) for row in rows
    )


def trials_of_batch(one: BatchProgress) -> tuple[Trial, ...]:
    """The completed trials at a batch."""
    timed = (one.timed,) if one.timed else ()
    return tuple(trial for course in one.courses for trial in course.trials) + timed


def tokens_after_branch(trial: Trial) -> int:
    """The tokens that a trial was trained on, without the steps of the trial that it branches
    off.
    """
    return (trial.step - trial.spec.branch_step) * trial.spec.horizon.batch_tokens


def batch_report(one: BatchProgress) -> BatchReport:
    """The report on an optimizer at a batch."""
    assert one.setting is not None, "only batches with a setting are reported"
    runs = trials_of_batch(one)
    return BatchReport(
        optimizer=one.optimizer,
        batch_tokens=one.batch_tokens,
        lr=one.setting.optimizer.lr,
        weight_decay=one.setting.optimizer.weight_decay,
        source=one.setting.source,
        doubt=doubts_words(one.setting.doubts),
        runs=sum(len(course.trials) for course in one.courses),
        diverged=sum(trial.diverged for course in one.courses for trial in course.trials),
        trained_tokens=max(
            (float(course.tokens[-1]) for course in one.courses if len(course.tokens)), default=0.0
        ),
        lowest_loss=min(
            (float(course.loss.min()) for course in one.courses if len(course.loss)), default=None
        ),
        step_seconds=measured_step_seconds(one.timed),
        run_seconds=math.fsum(trial.seconds for trial in runs),
    )


def granted(question: Question, optimizer: OptimizerName, now: StudyProgress) -> Granted:
    """The ledger's entry for an optimizer."""
    searches = [one for one in now.searches if one.optimizer == optimizer]
    batches = [one for one in now.batches if one.optimizer == optimizer]
    searched = {trial.digest: trial for one in searches for trial in one.tuned.trials}
    every = searched | {trial.digest: trial for one in batches for trial in trials_of_batch(one)}
    rates = [trial.spec.optimizer.lr for trial in searched.values()]
    tuning, options = question.tuning, question.optimizer_options
    muon = (
        f"momentum {options.momentum:g}, AdamW's lr {question.adamw_lr_ratio:g} of Muon's, "
        if optimizer == "muon"
        else ""
    )
    undecayed = ", ".join(sorted(map(str, UNDECAYED)))
    return Granted(
        optimizer=optimizer,
        hyperparameters="tuned here" if tuning else origin_words(source_jobs(question)),
        tuning_trials=len(searched),
        tuned_batches=question.tuned_batches,
        lr_low=min(rates, default=None),
        lr_high=max(rates, default=None),
        lr_octaves=math.log2(max(rates) / min(rates)) if rates else 0.0,
        weight_decays=weight_decays_to_compare(tuning) if tuning else (),
        edges=tuple(doubts_words(one.tuned.doubts) for one in searches if one.tuned.doubts),
        tuning_tokens=sum(map(tokens_after_branch, searched.values())),
        tuning_flops=math.fsum(trial.flops for trial in searched.values()),
        tuning_seconds=math.fsum(trial.seconds for trial in searched.values()),
        seeds=question.seeds,
        schedule=(
            f"{question.runs.reading}, warm-up of {question.runs.warmup_tokens or round(question.runs.tokens / 20)} tokens"
        ),
        fixed=(
            f"{muon}beta1 {options.beta1:g}, beta2 {options.beta2:g}, eps {options.eps:g}, no clipping, no decay of {undecayed}"
        ),
        precision="float32; Newton-Schulz in " + options.newton_schulz_dtype
        if optimizer == "muon"
        else "float32",
        trials=len(every),
        diverged=sum(trial.diverged for trial in every.values()),
        tokens=sum(map(tokens_after_branch, every.values())),
        flops=math.fsum(trial.flops for trial in every.values()),
        seconds=math.fsum(trial.seconds for trial in every.values()),
    )


def source_jobs(question: Question) -> tuple[str, ...]:
    """The jobs that hyperparameters were taken from."""
    return tuple(dict.fromkeys(one.job for one in question.given if one.job))
