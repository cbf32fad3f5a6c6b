"""Answers to export: studies of real text whose losses follow a bowl, so that no trial has to be
trained.
"""

import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from telescope.export import SourceJob, UsedTrial
from telescope.export.final_run import FinalRun, final_run
from telescope.studies import registry
from telescope.studies.telescoping.kind import KIND
from telescope.studies.telescoping.question.question import Question
from telescope.studies.telescoping.report import Report
from telescope.trials.outcome import Measurement, Trial, completed
from telescope.trials.spec import TrialSpec
from telescope.trials.types import OptimizerName
from tests.telescope.small import stdlib

MODEL = {"base_width": 16, "calibration_width": 32, "target_width": 64, "depth": 1, "head_dim": 8}
DATE = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


def document(
    optimizer: str | list[str] = "muon", model: dict[str, Any] | None = None, **changes: Any
) -> dict[str, Any]:
    """A small study, as a user would write it."""
    study = {
        "kind": "telescope",
        "name": "small",
        "optimizer": optimizer,
        "model": model if model and "family" in model else MODEL | (model or {}),
        "data": {"corpus": "python-stdlib", "context": 32},
        "horizon": {"steps": 24, "batch_tokens": 128},
        "search": {
            "lr": {"low": 0.002, "high": 0.5, "points": 9},
            "weight_decay": {"low": 0.05, "high": 0.8, "points": 3},
        },
        "coordinates": "skip",
    }
    return study | changes


def bowl(spec: TrialSpec, optimum: float = -5.0) -> float:
    """A loss with its optimum at lr 1/32 and weight decay 1/5 at every width; the seed alone
    changes a thousandth of it."""
    u, v = (
        math.log2(spec.optimizer.lr) - optimum,
        math.log2(spec.optimizer.weight_decay * 5) if spec.optimizer.weight_decay else 0.0,
    )
    return (2.0 + 1 / spec.model.width) * (1 + 0.01 * (u**2 + 0.2 * v**2)) + 0.001 * math.sin(
        7 * spec.seed + 3 * u
    )


def ended(spec: TrialSpec, optimum: float) -> Trial:
    """A completed run with the loss of the bowl."""
    return completed(
        spec,
        [
            Measurement(
                spec.horizon.steps, 0, 1e6, 0.1, {"train_loss": 2.0, "loss": bowl(spec, optimum)}
            )
        ],
    )


def answered(job: dict[str, Any], optimum: float = -5.0) -> tuple[Question, Report, SourceJob]:
    """The question of a job, its report, and a job that could have run it."""
    parsed = registry.parse(job).question
    study = replace(parsed, data=stdlib(parsed.data.context))
    trials: list[Trial] = []
    while not (plan := KIND.of(study).plan(trials)).done:
        trials += [ended(spec, optimum) for spec in plan.start]
    used = tuple(
        UsedTrial(t.digest, t.spec.optimizer.name, t.spec.model.width, t.spec.seed, "torch on cpu")
        for t in trials
    )
    return study, KIND.of(study).report(trials), SourceJob("job-1", study.name, DATE, used)


def run_of(
    optimizer: OptimizerName = "muon", model: dict[str, Any] | None = None, **changes: Any
) -> FinalRun:
    """The run at the target of a small study's answer."""
    return final_run(*answered(document(optimizer, model, **changes)))
