"""Grokking studies whose runs are simulated: a law gives the step at which each run generalises."""

import math
from collections.abc import Callable
from typing import Any

from telescope.studies import registry
from telescope.studies.grokking.report import GrokkingReport
from telescope.studies.kind import AnyStudy
from telescope.trials.milestones import as_metrics, is_settled, milestones_of
from telescope.trials.outcome import Measurement, Trial, completed
from telescope.trials.spec import TrialSpec

Law = Callable[[TrialSpec], float]
"""The step at which a run generalises; infinite for a run that never does."""


def document(**changes: Any) -> dict[str, Any]:
    """A small job under the protocol paper."""
    return {
        "kind": "grokking",
        "protocol": "paper",
        "data": {"task": "add", "modulus": 7, "train_share": 0.6},
        "model": {"width": 8, "head_dim": 8},
        "runs": {"epochs": 100, "evaluate_epochs": 2, "sustained_evaluations": 3},
    } | changes


def tuned(**changes: Any) -> dict[str, Any]:
    """A small job under the protocol tuned."""
    tuning = {
        "lr": {"low": 0.25, "high": 1.0, "points": 3},
        "weight_decay": [0.5, 1.0],
        "adamw_lr_ratio": [0.1],
    }
    return document(protocol="tuned", tuning=tuning | changes.pop("tuning", {}), **changes)


def study_of(changed: dict[str, Any]) -> AnyStudy:
    """The resolved study of a document."""
    return registry.resolved(registry.parse(changed))


def simulate(spec: TrialSpec, law: Law) -> Trial:
    """A run that memorises at its first evaluation and generalises by the law."""
    horizon, generalises = spec.horizon, law(spec)
    assert horizon.evaluate_every is not None
    curve: list[Measurement] = []
    for step in range(horizon.evaluate_every, horizon.steps + 1, horizon.evaluate_every):
        accuracy = 1.0 if step >= generalises else 0.2
        loss = (1 - accuracy) * (1 + off_centre(spec))
        metrics = {"train_loss": 0.1, "loss": loss, "accuracy": accuracy}
        flops = step * (2e6 if spec.optimizer.name == "muon" else 1e6)
        curve.append(
            Measurement(
                step, spec.tokens_until(step), flops, step / 100, metrics | {"train_accuracy": 1.0}
            )
        )
        if is_settled(curve[:-1], curve[-1].metrics, horizon.sustained_evaluations or 1):
            break
    milestones = milestones_of(curve, horizon.sustained_evaluations or 1)
    curve[-1] = Measurement(
        *list(vars(curve[-1]).values())[:4], {**curve[-1].metrics, **as_metrics(milestones)}
    )
    return completed(spec, curve)


def off_centre(spec: TrialSpec) -> float:
    """Distance of the hyperparameters from lr 0.5 and decay 0.5, in octaves."""
    lr, decay = spec.optimizer.lr, spec.optimizer.weight_decay
    return abs(math.log2(lr / 0.5)) + abs(math.log2(decay / 0.5))


def finished(study: AnyStudy, law: Law) -> list[Trial]:
    """All trials of a study, simulated stage by stage."""
    trials: list[Trial] = []
    while not (plan := study.plan(trials)).done:
        trials += [simulate(spec, law) for spec in plan.start]
    return trials


def report_of(changed: dict[str, Any], law: Law) -> GrokkingReport:
    """The final report of a simulated study."""
    study = study_of(changed)
    report: GrokkingReport = study.report(finished(study, law))
    return report


def by_optimizer(muon: float, adamw: float, spread: float = 0.1) -> Law:
    """Every optimizer has its own step, which differs a little between seeds."""
    steps = {"muon": muon, "adamw": adamw}

    def law(spec: TrialSpec) -> float:
        shift = ((spec.seed * 7) % 8 - 3.5) / 3.5  # -1 to 1, another order than the seeds'
        return steps[spec.optimizer.name] * (1 + spread * shift)

    return law
