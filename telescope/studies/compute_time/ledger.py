"""The ledger of a compute-time study: the tuning and training that each optimizer received.

A *search* tunes the hyperparameters of an optimizer at a batch size. A *course* consists of the
runs with one optimizer, batch size and seed that together give one curve of loss against tokens.
"""

import math
from collections.abc import Sequence

from telescope.parametrisation.mup import UNDECAYED
from telescope.studies.compute_time.fold import BatchProgress, StudyProgress
from telescope.studies.compute_time.question import Given, Question
from telescope.studies.compute_time.report import LedgerEntry
from telescope.studies.compute_time.tuning import weight_decays_to_compare
from telescope.studies.compute_time.wording import doubts_words, origin_words
from telescope.trials.outcome import Trial
from telescope.trials.types import OptimizerName

PRECISION = "float32; on GPUs, bfloat16 in forward and backward passes"


def ledger_entry(
    question: Question, optimizer: OptimizerName, study_progress: StudyProgress
) -> LedgerEntry:
    """The ledger's entry for an optimizer."""
    searches = [
        search.progress for search in study_progress.searches if search.optimizer == optimizer
    ]
    batches = [batch for batch in study_progress.batches if batch.optimizer == optimizer]
    searched = unique_trials(*(search.trials for search in searches))
    used = unique_trials(searched, *map(trials_of_batch, batches))
    rates = [trial.spec.optimizer.lr for trial in searched]
    tuning, runs = question.tuning, question.runs
    given = [values for values in question.given if values.optimizer == optimizer]
    warmup_tokens = runs.warmup_tokens or round(runs.tokens / 20)
    newton_schulz = f"; Newton-Schulz in {question.optimizer_options.newton_schulz_dtype}"
    return LedgerEntry(
        optimizer=optimizer,
        hyperparameters="tuned here" if tuning else origin_words(source_jobs(given)),
        tuning_trials=len(searched),
        tuned_batches=question.tuned_batches,
        lr_low=min(rates, default=None),
        lr_high=max(rates, default=None),
        lr_octaves=math.log2(max(rates) / min(rates)) if rates else 0.0,
        weight_decays=weight_decays_to_compare(tuning) if tuning else (),
        edges=tuple(doubts_words(search.doubts) for search in searches if search.doubts),
        tuning_tokens=sum(map(tokens_after_branch, searched)),
        tuning_flops=math.fsum(trial.flops for trial in searched),
        tuning_seconds=math.fsum(trial.seconds for trial in searched),
        seeds=question.seeds,
        schedule=f"{runs.reading}, warm-up of {warmup_tokens} tokens",
        fixed=fixed_hyperparameters(question, optimizer),
        precision=f"{PRECISION}{newton_schulz if optimizer == 'muon' else ''}",
        trials=len(used),
        diverged=sum(trial.diverged for trial in used),
        tokens=sum(map(tokens_after_branch, used)),
        flops=math.fsum(trial.flops for trial in used),
        seconds=math.fsum(trial.seconds for trial in used),
    )


def fixed_hyperparameters(question: Question, optimizer: OptimizerName) -> str:
    """Further hyperparameters, which the study does not tune, as text."""
    options = question.optimizer_options
    undecayed = ", ".join(sorted(map(str, UNDECAYED)))
    text = (
        f"beta1 {options.beta1:g}, beta2 {options.beta2:g}, eps {options.eps:g}, "
        f"no gradient clipping, no decay of {undecayed}"
    )
    if optimizer == "adamw":
        return text
    return (
        f"momentum {options.momentum:g}, AdamW's lr {question.adamw_lr_ratio:g} of Muon's, {text}"
    )


def source_jobs(given: Sequence[Given]) -> tuple[str, ...]:
    """The ids of the jobs that these hyperparameters were taken from."""
    return tuple(dict.fromkeys(values.job for values in given if values.job))


def trials_of_batch(batch: BatchProgress) -> tuple[Trial, ...]:
    """The completed trials of an optimizer at a batch: those of its courses, and the run that times
    a step. Trials of searches are not included."""
    timed = (batch.timed,) if batch.timed else ()
    return tuple(trial for course in batch.courses for trial in course.trials) + timed


def unique_trials(*groups: Sequence[Trial]) -> list[Trial]:
    """The trials of several groups, without repetitions. Searches and courses may share trials."""
    return list({trial.digest: trial for group in groups for trial in group}.values())


def tokens_after_branch(trial: Trial) -> int:
    """The tokens that a trial was trained on. If the trial branches off an earlier run, the steps
    before the branch do not count."""
    return (trial.step - trial.spec.branch_step) * trial.spec.horizon.batch_tokens
