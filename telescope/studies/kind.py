"""What a kind of study provides, and what a study is: a kind with a question.

A kind is one frozen value. Everything outside its package reaches it through the fields of `Kind`, so a new kind is a
package with such a value and one line in `telescope.studies.registry`.

Parts: `Label`, `Planned`, `Plan` · `EndCause`, `Ended` · `Question` and `Report`, what all of them say · `Kind` · `Study`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar

from telescope.errors import Problem
from telescope.studies.coordinates.check import Design
from telescope.studies.forecast.pace import Machine
from telescope.trials.data import DataSpec
from telescope.trials.outcome import Trial
from telescope.trials.spec import TrialSpec
from telescope.trials.types import OptimizerName


@dataclass(frozen=True)
class Label:
    """Where a planned trial stands in its study."""

    ladder: OptimizerName
    stage: str
    level: int | None = None  # None where the trial belongs to no level: checks, runs at the target
    variant: str = ""  # empty where the study compares none


@dataclass(frozen=True)
class Planned:
    """A trial that a study needs, and where in the study it stands."""

    spec: TrialSpec
    label: Label


@dataclass(frozen=True)
class Plan:
    """The trials of the current stages that have not ended yet, and whether the question is answered."""

    trials: tuple[Planned, ...]
    done: bool

    @property
    def start(self) -> tuple[TrialSpec, ...]:
        """The specifications of the trials."""
        return tuple(planned.spec for planned in self.trials)


class EndCause(StrEnum):
    """What ends a study, or a ladder of it, before its question is answered."""

    OUT_OF_TIME = "limit:max_seconds"
    OUT_OF_TRIALS = "limit:max_trials"
    OUT_OF_FLOPS = "limit:max_flops"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Ended:
    """The end of a study that nothing follows; as text, the reason that reports give."""

    cause: EndCause
    detail: str | None = None  # of a failure: what failed

    def __str__(self) -> str:
        return f"{self.cause}: {self.detail}" if self.detail else str(self.cause)


@dataclass(frozen=True)
class CheckedLadder:
    """A ladder of a study, and the coordinate check that it begins with."""

    optimizer: str
    variant: str
    design: Design


class Question(Protocol):
    """A validated document: frozen data, without behaviour of its own."""

    @property
    def name(self) -> str:
        """What its author calls it."""
        ...

    @property
    def data(self) -> DataSpec:
        """The text that trials read."""
        ...

    @property
    def reuse(self) -> bool:
        """Whether finished trials of other jobs may stand in for its own."""
        ...

    @property
    def batches(self) -> tuple[int, ...]:
        """Batch sizes in tokens."""
        ...


class Report(Protocol):
    """What the reports of all kinds say."""

    @property
    def final(self) -> bool:
        """Nothing will be added to it."""
        ...

    @property
    def verdict(self) -> str:
        """`resolved`, or another word of its kind."""
        ...

    @property
    def reason(self) -> str:
        """Why this is the verdict."""
        ...


Q = TypeVar("Q", bound=Question)
R = TypeVar("R", bound=Report)
P = TypeVar("P")


def as_it_is(document: dict[str, Any]) -> dict[str, Any]:
    """The codec of kinds whose documents hold every field of their question."""
    return document


def all_problems(problems: Iterable[Problem], document: dict[str, Any]) -> tuple[Problem, ...]:
    """The problems of such documents."""
    return tuple(problems)


def unknown_flops(forecast: Any) -> float | None:
    """The expectation of kinds that have none."""
    return None


def no_variant(question: Any, spec: TrialSpec) -> str:
    """The variant of kinds that compare none."""
    return ""


def own_model(question: Any) -> tuple[Any, ...]:
    """The model of kinds that have one."""
    return (question.model,)


def own_text(question: Question) -> dict[str, DataSpec]:
    """The text of kinds that read one."""
    return {"data": question.data}


def with_own_text(question: Any, texts: Sequence[DataSpec]) -> Any:
    """The question with its one text resolved."""
    (data,) = texts
    return replace(question, data=data)


def without_own_models(question: Any, seen: Callable[[Any, str], Any]) -> Any:
    """The question of kinds that take none of the user's models."""
    return question


@dataclass(frozen=True, kw_only=True)
class Kind(Generic[Q, R, P]):
    """Everything that a kind of study provides."""

    name: str
    """What documents say as `kind`."""
    question: type[Q]
    report: type[R]
    preview: type[P]
    check: Callable[[Q], Q]
    """The question itself, or InvalidInput with everything that is wrong with it."""
    plan: Callable[[Q, Sequence[Trial]], Plan]
    """What to run, given the terminal trials in any order. A plan that is not `done` starts something."""
    answer: Callable[[Q, Sequence[Trial], Ended | None], R]
    """The report on the terminal trials, and on what ended the study, if anything did."""
    forecast: Callable[[Q, Machine | None], P]
    """What the question would run and cost."""
    models: Callable[[Q], tuple[Any, ...]] = own_model
    """The models that trials build, at the widths that the question names."""
    analyse: Callable[[Q, Sequence[Trial]], Any] | None = None
    """What its trials amount to at any target loss, where the kind has tables of its own."""
    ladders: Callable[[Q], Iterator[CheckedLadder]] | None = None
    """Its ladders, each with its coordinate check, where the kind compares widths."""
    expected_flops: Callable[[P], float | None] = unknown_flops
    """FLOPs of the whole study by its forecast, against which progress is shown."""
    reads_curves: bool = False
    """Whether reports need the outlines of curves; plans are made without them."""
    texts: Callable[[Q], dict[str, DataSpec]] = own_text
    """The data that trials read, by the field that names them."""
    with_texts: Callable[[Q, Sequence[DataSpec]], Q] = with_own_text
    with_models: Callable[[Q, Callable[[Any, str], Any]], Q] = without_own_models
    """The question with each of its models as a function of the model and its field sees it."""
    variant_of: Callable[[Q, TrialSpec], str] = no_variant
    """The variant that plans a run, of rows that do not carry it."""
    expand: Callable[[dict[str, Any]], dict[str, Any]] = as_it_is
    """A user's document with everything that it leaves unsaid."""
    collapse: Callable[[dict[str, Any]], dict[str, Any]] = as_it_is
    """The inverse of `expand`."""
    as_given: Callable[[Iterable[Problem], dict[str, Any]], tuple[Problem, ...]] = all_problems
    """Problems of an expanded document, as problems of the document that a user wrote."""

    def of(self, question: Q) -> "Study[Q, R, P]":
        """The study of a question."""
        return Study(self, question)


@dataclass(frozen=True)
class Study(Generic[Q, R, P]):
    """A question and the kind that answers it: a pure fold over the question's finished trials."""

    kind: Kind[Q, R, P]
    question: Q

    def plan(self, trials: Sequence[Trial]) -> Plan:
        """What to run, given the terminal trials, in any order."""
        return self.kind.plan(self.question, trials)

    def report(self, trials: Sequence[Trial], ended: Ended | None = None) -> R:
        """The answer to date; final where the plan is done, or where `ended` says why nothing follows."""
        return self.kind.answer(self.question, trials, ended)

    def preview(self, machine: Machine | None = None) -> P:
        """What the study would run and cost."""
        return self.kind.forecast(self.question, machine)


AnyStudy = Study[Any, Any, Any]
