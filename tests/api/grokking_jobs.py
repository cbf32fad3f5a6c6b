"""Grokking jobs whose runs generalise at steps of a formula instead of training."""

from collections.abc import Callable
from typing import Any

from api.job_states import JobState
from api.store.record import CoordinatorStore
from api.store.rows import Begun
from telescope.studies import registry
from telescope.studies.grokking.report import GrokkingReport
from telescope.studies.kind import AnyStudy
from telescope.trials.milestones import Milestones, Moment, as_metrics
from telescope.trials.outcome import Measurement, Trial, completed
from telescope.trials.spec import TrialSpec

DOCUMENT: dict[str, Any] = {
    "kind": "grokking",
    "name": "laws",
    "model": {"width": 16, "depth": 1, "head_dim": 8},
    "data": [{"task": "add", "modulus": 7}, {"task": "parity", "bits": 4}],
    "runs": {"epochs": 400, "batch_rows": 16, "evaluate_epochs": 4, "sustained_evaluations": 2},
    "tuning": {
        "lr": {"low": 0.002, "high": 0.032, "points": 5},
        "weight_decay": [1.0],
        "adamw_lr_ratio": [0.3],
        "extensions": 1,
    },
    "seeds": 8,
}
Law = Callable[[TrialSpec], float | None]  # epochs to generalise; None for a run that never does


def muon_first(spec: TrialSpec) -> float | None:
    """Muon generalises after about 40 epochs, AdamW after about 100; one AdamW run never does."""
    off = abs(spec.optimizer.lr / 0.008 - 1)
    if spec.optimizer.name == "muon":
        return 40 + 80 * off + spec.seed % 5
    return None if spec.seed == 5 else 100 + 80 * off + 4 * (spec.seed % 5)


def equal(spec: TrialSpec) -> float | None:
    """Both optimizers generalise after as many epochs, which depend on the seed alone."""
    return 100 + 80 * abs(spec.optimizer.lr / 0.008 - 1) + 20 * (spec.seed % 5)


def at_edge(spec: TrialSpec) -> float | None:
    """Lower learning rates are better without end."""
    return 40 + 20_000 * spec.optimizer.lr


def never(spec: TrialSpec) -> float | None:
    """No run generalises; the loss is lowest in the middle of the grid."""
    return None


def last_point(spec: TrialSpec, law: Law) -> Measurement:
    """The last point of a run that generalises as a law has it."""
    interval = spec.horizon.evaluate_every
    assert interval is not None
    steps, epochs = spec.horizon.steps, law(spec)
    reached = None
    if epochs is not None:
        evaluation = min(steps // interval - 2, 1 + int(epochs) // 4)
        reached, steps = moment(evaluation, interval), (evaluation + 1) * interval
    milestones = Milestones(moment(1, interval), reached, reached, None, 0, steps // interval)
    metrics = {
        "loss": abs(spec.optimizer.lr - 0.008) + 1e-3 * spec.seed % 7,
        "accuracy": 1.0 if reached else 0.5,
        "train_accuracy": 1.0,
    }
    return Measurement(
        steps, spec.tokens_until(steps), 1e6 * steps, 1e-3 * steps, metrics | as_metrics(milestones)
    )


def moment(evaluation: int, interval: int) -> Moment:
    step, previous = evaluation * interval, (evaluation - 1) * interval
    return Moment(step, 1e6 * step, 1e-3 * step, previous, 1e6 * previous, 1e-3 * previous)


def study_of(**changes: Any) -> AnyStudy:
    """The study of `DOCUMENT` with changed fields, its tables resolved."""
    return registry.resolved(registry.parse(DOCUMENT | changes))


def answered(law: Law, most: int | None = None, **changes: Any) -> GrokkingReport:
    """The report of a study after all its trials, or after the first `most`."""
    study, trials = study_of(**changes), list[Trial]()
    while not (plan := study.plan(trials)).done and (most is None or len(trials) < most):
        trials += [completed(spec, [last_point(spec, law)]) for spec in plan.start]
    report: GrokkingReport = study.report(trials[:most])
    return report


def job_with_report(
    record: CoordinatorStore, law: Law, most: int | None = None, **changes: Any
) -> str:
    """A job with its trials and its report, finished, or running after `most` trials."""
    study = study_of(**changes)
    job, _ = record.create_job(registry.to_document(study))
    record.begin_job(job.id)
    count = 0
    while not (plan := study.plan(record.terminal_trials(job.id))).done and count != most:
        record.plan_trials(job.id, plan.trials)
        for pending in record.pending_trials(job.id, 1000)[: most and most - count]:
            last = last_point(pending.spec, law)
            record.trial_started(pending.trial_id, pending.attempt, Begun(0, "worker-1", "cpu"))
            record.trial_finished(pending.trial_id, completed(pending.spec, [last]), [last])
            count += 1
    report = registry.report_document(study.report(record.terminal_trials(job.id)))
    if most is None:
        record.finish_job(job.id, JobState.SUCCEEDED, None, report)
    else:
        record.put_result(job.id, report, final=False)
    return job.id
