"""Finished jobs of kind `compute_time` whose loss curves follow known laws instead of training.

A job of this kind compares the tokens and the hours that optimizers need at many batch sizes. This
module writes all trials of a job to the database at once, so that even a job of ten thousand trials
takes little time.
"""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, insert, select, update

from api.job_states import JobState
from api.store.curves import packed
from api.store.record import CoordinatorStore
from api.store.tables import outlines, trials
from surfaces.batch_laws import BATCHES, TARGET, Noise, curves, law
from telescope.studies import registry
from telescope.trials.outcome import TrialState
from telescope.trials.outline import Outline
from telescope.trials.spec import TrialSpec

LAWS = {"muon": law(1), "adamw": law(3)}
# The seconds of a step are the sum of a fixed time, which depends on the optimizer, and the number
# of tokens of the batch divided by TOKENS_PER_SECOND.
STEP_SECONDS = {"muon": 0.004, "adamw": 0.003}
TOKENS_PER_SECOND = 2e6
ATTAINED = TARGET  # the final loss that the database has for every run


def document(seeds: int = 3, batches: Sequence[int] = BATCHES, **changes: Any) -> dict[str, Any]:
    """Return the document of a study that compares Muon with AdamW.

    For each optimizer and batch size, the study has a run with each seed, and a run that measures
    the time of a step. `changes` replace fields of the document.
    """
    study = {
        "kind": "compute_time",
        "name": "laws",
        "optimizer": ["muon", "adamw"],
        "model": {"width": 32, "depth": 1, "head_dim": 16},
        "data": {"corpus": "none", "context": 16, "content": "none", "vocab_size": 256},
        "batch_tokens": list(batches),
        "runs": {"tokens": 4_000_000},
        "given": [{"optimizer": name, "batch_tokens": batches[0], "lr": 0.02} for name in LAWS],
        "seeds": seeds,
        "limits": {"max_trials": 100_000},
    }
    return registry.to_document(registry.parse(study | changes))


def finished_job(
    record: CoordinatorStore,
    study: dict[str, Any],
    noise: Noise = Noise(0.005),  # noqa: B008 (frozen)
) -> str:
    """Create a job of a study, complete all its trials, and return the job's id.

    The database gets only the outlines of the curves, which are short versions with tokens and
    losses, and not the curves themselves.
    """
    job, _ = record.create_job(study)
    record.begin_job(job.id)
    plan = registry.parse(study).plan(())
    record.plan_trials(job.id, plan.trials)
    complete(record, job.id, plan.start, noise)
    record.finish_job(job.id, JobState.SUCCEEDED, None, {"final": True})
    return job.id


def complete(
    record: CoordinatorStore, job_id: str, specs: Sequence[TrialSpec], noise: Noise
) -> None:
    """Mark all trials of a job as completed, and store the outlines of their curves."""
    result = {
        "loss": ATTAINED,
        "state": TrialState.COMPLETED,
        "step": trials.c.steps,
        "seconds": 1.0,
        "numerics": "cpu",
    }
    drawn_curves = courses(specs, noise)
    with record._write() as connection:
        ended = update(trials).where(trials.c.job_id == job_id).values(**result)
        connection.execute(ended)
        connection.execute(
            update(trials).where(trials.c.job_id == job_id, trials.c.digest == bindparam("timed")),
            timed_steps(specs),
        )
        inserted = connection.execute(
            select(trials.c.digest, trials.c.id).where(trials.c.job_id == job_id)
        ).all()
        ids = {row.digest: row.id for row in inserted}
        rows = [
            {"trial": ids[digest], "kept": packed(outline)}
            for digest, outline in drawn_curves.items()
        ]
        connection.execute(
            insert(outlines).values(
                trial_id=bindparam("trial"), held_out=True, blob=bindparam("kept")
            ),
            rows,
        )


def timed_steps(specs: Sequence[TrialSpec]) -> list[dict[str, str]]:
    """Return the seconds per step of the runs that measure time, as parameters of an UPDATE."""
    timed = [spec for spec in specs if spec.measure == "time"]
    seconds = [
        STEP_SECONDS[spec.optimizer.name] + spec.horizon.batch_tokens / TOKENS_PER_SECOND
        for spec in timed
    ]
    return [
        {"timed": spec.digest, "metrics": json.dumps({"step_seconds": duration})}
        for spec, duration in zip(timed, seconds, strict=True)
    ]


def courses(specs: Sequence[TrialSpec], noise: Noise) -> dict[str, Outline]:
    """Return outlines of curves by the digests of their runs.

    The curve of a run follows the law of the run's optimizer.
    """
    course_of = {}
    for number, (name, optimizer_law) in enumerate(LAWS.items()):
        own = [spec for spec in specs if spec.optimizer.name == name and spec.measure == "loss"]
        batches = sorted({spec.horizon.batch_tokens for spec in own})
        seeds = 1 + max(spec.seed for spec in own)
        all_curves = curves(optimizer_law, noise, seeds, number, batches=batches)
        for spec in own:
            row = batches.index(spec.horizon.batch_tokens) * seeds + spec.seed
            course_of[spec.digest] = Outline(all_curves.tokens[row], all_curves.loss[row], True)
    return course_of
