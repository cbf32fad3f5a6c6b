"""`kind: duel`, complete in one module."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic.dataclasses import dataclass as validated

from telescope.errors import Problem
from telescope.studies.forecast.pace import Machine
from telescope.studies.kind import Ended, Kind, Label, Plan, Planned
from telescope.train.flops import trial_flops
from telescope.trials.data import DataSpec
from telescope.trials.horizon import HorizonSpec
from telescope.trials.model import ModelSpec
from telescope.trials.optimizer import OptimizerSpec
from telescope.trials.outcome import Trial
from telescope.trials.spec import TrialSpec
from telescope.trials.types import STRICT, Positive


@validated(frozen=True, kw_only=True, config=STRICT)
class DuelQuestion:
    """Which of two learning rates trains AdamW to the lower loss?"""

    kind: Literal["duel"] = "duel"
    name: str = "duel"
    model: ModelSpec
    data: DataSpec
    horizon: HorizonSpec
    first: Positive
    second: Positive
    reuse: bool = True

    @property
    def batches(self) -> tuple[int, ...]:
        return (self.horizon.batch_tokens,)


@dataclass(frozen=True)
class DuelReport:
    """The learning rate of the lower loss, once both runs have ended."""

    final: bool
    verdict: Literal["resolved", "unresolved"]
    reason: str
    lr: float | None


@dataclass(frozen=True)
class DuelForecast:
    """FLOPs of both runs."""

    flops: float


def problems(question: DuelQuestion) -> Iterator[Problem]:
    if question.first == question.second:
        yield Problem("second", "is the first one; give another learning rate", question.second)


def runs(question: DuelQuestion) -> tuple[TrialSpec, ...]:
    return tuple(
        TrialSpec(
            model=question.model,
            optimizer=OptimizerSpec(name="adamw", lr=lr, weight_decay=0.1),
            data=question.data,
            horizon=question.horizon,
            seed=0,
        )
        for lr in (question.first, question.second)
    )


def plan(question: DuelQuestion, trials: Sequence[Trial]) -> Plan:
    ended = {trial.digest for trial in trials}
    missing = tuple(
        Planned(spec, Label("adamw", "duel")) for spec in runs(question) if spec.digest not in ended
    )
    return Plan(missing, not missing)


def answer(
    question: DuelQuestion, trials: Sequence[Trial], ended: Ended | None = None
) -> DuelReport:
    losses = {trial.spec.optimizer.lr: trial.loss for trial in trials if trial.loss is not None}
    if len(losses) < 2:
        return DuelReport(ended is not None, "unresolved", str(ended or "running"), None)
    return DuelReport(True, "resolved", "both have ended", min(losses, key=lambda lr: losses[lr]))


def forecast(question: DuelQuestion, machine: Machine | None = None) -> DuelForecast:
    return DuelForecast(sum(map(trial_flops, runs(question))))


KIND = Kind(
    name="duel",
    question=DuelQuestion,
    report=DuelReport,
    preview=DuelForecast,
    problems=problems,
    plan=plan,
    answer=answer,
    forecast=forecast,
)
