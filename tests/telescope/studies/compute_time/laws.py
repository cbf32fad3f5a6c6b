"""A trainer whose losses follow known laws, and a small compute-time job for it; shared by the
tests of this folder.

The loss of a run follows its optimizer's law (`surfaces.batch_laws`). It is higher the more octaves
its learning rate is away from an optimum, which moves as a power of the batch; runs above a cliff
diverge. A run ends below its `stop_below_loss`, and a branch has points only after its branch step.

Parts: `Trainer`, callable as `train_one` · `document`, `study`, `parsed` · `rounds`, the trials of
each plan · `trained`.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from surfaces.batch_laws import Law
from telescope.studies.compute_time.kind import KIND
from telescope.studies.compute_time.question import Question
from telescope.studies.registry import parse
from telescope.train.flops import flops_until
from telescope.trials.outcome import Measurement, Trial, completed
from telescope.trials.spec import TrialSpec

LAWS = {"muon": Law(500, slope=-0.4, tokens=1.5e5), "adamw": Law(300, slope=-0.45, tokens=2e5)}
BATCHES = (128, 256, 512, 1024, 2048, 4096)
OPTIMA = {"muon": -5.0, "adamw": -6.5}  # octaves of the learning rate, at a batch of 512 tokens
DIVERGES_AFTER = 3  # points


@dataclass(frozen=True)
class Trainer:
    """Trains specifications by the laws."""

    laws: Mapping[str, Law] = field(default_factory=lambda: LAWS)
    power: float = 0.5  # power of the batch with which the optimum moves
    curvature: float = 0.0  # relative increase of the loss per octave^2
    cliff: float = math.inf  # octaves above the optimum from which runs diverge
    point: float = 0.0  # relative noise of each point
    run: float = 0.0  # relative noise that all points of a run share
    hot: float = 0.0  # relative increase of the loss of a run that never cools down
    number: int = 0  # seed of the random streams

    def octaves(self, spec: TrialSpec) -> float:
        """Octaves of the learning rate above its optimum."""
        return (
            math.log2(spec.optimizer.lr)
            - OPTIMA[spec.optimizer.name]
            - self.power * math.log2(spec.horizon.batch_tokens / 512)
        )

    def normal(self, *key: object) -> np.random.Generator:
        """The random stream of a key, the same on every machine."""
        text = repr((self.number, *key)).encode()
        return np.random.default_rng(int(hashlib.sha256(text).hexdigest()[:12], 16))

    def __call__(self, spec: TrialSpec) -> Iterator[Measurement]:
        """The points of one run."""
        horizon, batch, off = spec.horizon, spec.horizon.batch_tokens, self.octaves(spec)
        if spec.measure == "time":
            seconds = 1e-3 * (1 + batch / 512 + (spec.optimizer.name == "muon"))
            yield self.at(
                spec, horizon.steps, {"train_loss": 3.0, "loss": 3.0, "step_seconds": seconds}
            )
            return
        interval = horizon.evaluate_every or horizon.steps
        steps = [
            step for step in range(interval, horizon.steps, interval) if step > spec.branch_step
        ] + [horizon.steps]
        truth = self.laws[spec.optimizer.name].loss_after(
            np.array(steps, dtype=np.float64) * batch, batch
        )
        error = self.run * self.normal(spec.optimizer.name, batch, spec.seed).standard_normal()
        errors = error + self.point * self.normal(spec.digest).standard_normal(len(steps))
        losses = (
            truth
            * (1 + self.curvature * off**2)
            * (1 + errors)
            * (1 + self.hot * (horizon.decay == "constant"))
        )
        for i, (step, loss) in enumerate(zip(steps, losses.tolist(), strict=True)):
            if off > self.cliff and (i == DIVERGES_AFTER or step == horizon.steps):
                yield self.at(spec, step, {"train_loss": math.inf, "loss": math.inf}, diverged=True)
                return
            yield self.at(spec, step, {"train_loss": loss, "loss": loss})
            if horizon.stop_below_loss is not None and loss <= horizon.stop_below_loss:
                return

    @staticmethod
    def at(
        spec: TrialSpec, step: int, metrics: dict[str, float], diverged: bool = False
    ) -> Measurement:
        """A point; a step takes a thousandth of a second."""
        own_steps = step - spec.branch_step
        return Measurement(
            step,
            step * spec.horizon.batch_tokens,
            flops_until(spec, step, diverged),
            0.001 * own_steps,
            metrics,
        )


GIVEN: dict[str, Any] = {
    "given": [
        {"optimizer": name, "batch_tokens": 512, "lr": 2.0**octaves, "weight_decay": 0.1}
        for name, octaves in OPTIMA.items()
    ]
}
TUNED: dict[str, Any] = {"tuning": {"lr": {"low": 2.0**-9, "high": 2.0**-3, "points": 5}}}


def document(runs: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """A job over BATCHES with given hyperparameters to loss 2, read at a constant rate."""
    base: dict[str, Any] = {
        "kind": "compute_time",
        "model": {"width": 32},
        "data": {"corpus": "laws", "content": "laws", "vocab_size": 64, "context": 16},
        "batch_tokens": list(BATCHES),
        "target_losses": [2.0],
        "runs": {"tokens": 400_000} | (runs or {}),
        "seeds": 1,
    }
    sources = {} if {"given", "tuning", "from_jobs"} & changes.keys() else GIVEN
    return base | sources | changes


def study(runs: dict[str, Any] | None = None, **changes: Any) -> Question:
    """The job as a study."""
    return parsed(document(runs, **changes))


def parsed(job: dict[str, Any]) -> Question:
    """The study that a document describes."""
    question = parse(job).question
    assert isinstance(question, Question)
    return question


def rounds(
    question: Question, train: Callable[[TrialSpec], Iterable[Measurement]]
) -> list[list[Trial]]:
    """The trials of each plan until it is done."""
    stages: list[list[Trial]] = []
    while not (plan := KIND.of(question).plan([trial for stage in stages for trial in stage])).done:
        stages.append([completed(spec, list(train(spec))) for spec in plan.start])
    return stages


def trained(question: Question, train: Callable[[TrialSpec], Iterable[Measurement]]) -> list[Trial]:
    """All trials of a study."""
    return [trial for stage in rounds(question, train) for trial in stage]
