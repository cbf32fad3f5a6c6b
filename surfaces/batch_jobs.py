"""Finished compute-time jobs whose curves follow known laws, written to a database in bulk without
training.
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
# overhead of a step, in addition to the time of its tokens
STEP_SECONDS = {"muon": 0.004, "adamw": 0.003}
TOKENS_PER_SECOND = 2e6
ATTAINED = TARGET  # the final loss of every run


def document(seeds: int = 3, batches: Sequence[int] = BATCHES, **changes: Any) -> dict[str, Any]:
    """A study with one run per optimizer, batch and seed, and one timed run per optimizer and
    batch."""
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
    """A job of this study whose trials are all completed, with the outlines of their curves but
    without the curves' points. Returns its id.
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
    """Complete the trials of a job, and store the outlines of their curves."""
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
    """The measured seconds per step of the timed runs, as rows to update."""
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
    """The outline of each run's curve under the law of its optimizer, by digest."""
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
