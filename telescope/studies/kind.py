"""The interface of a kind of study, and a study: a kind with a question.

A kind is a frozen value. Code outside its package uses it only through the fields of `Kind`, so a
new kind is a package with such a value and a line in `telescope.studies.registry`.

Parts: `Label`, `Planned`, `Plan` · `EndCause`, `Ended` · `Question` and `Report`, common to all
kinds · `Kind` · `Study`.
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
    """The place of a planned trial in its study."""

    ladder: OptimizerName
    stage: str
    level: int | None = None  # None for trials of no level: checks, runs at the target
    variant: str = ""  # empty where the study compares none


@dataclass(frozen=True)
class Planned:
    """A trial that a study needs, with its place in the study."""

    spec: TrialSpec
    label: Label


@dataclass(frozen=True)
class Plan:
    """The unfinished trials of the current stages, and whether the question is answered."""

    trials: tuple[Planned, ...]
    done: bool

    @property
    def start(self) -> tuple[TrialSpec, ...]:
        """The specifications of the trials."""
        return tuple(planned.spec for planned in self.trials)


class EndCause(StrEnum):
    """The cause that ends a study, or a ladder of it, before its question is answered."""

    OUT_OF_TIME = "limit:max_seconds"
    OUT_OF_TRIALS = "limit:max_trials"
    OUT_OF_FLOPS = "limit:max_flops"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Ended:
    """The premature end of a study; as text, the reason in reports."""

    cause: EndCause
    detail: str | None = None  # the failure

    def __str__(self) -> str:
        return f"{self.cause}: {self.detail}" if self.detail else str(self.cause)


@dataclass(frozen=True)
class CheckedLadder:
    """A ladder of a study, and its coordinate check."""

    optimizer: str
    variant: str
    design: Design


class Question(Protocol):
    """A validated document: frozen data, without behaviour of its own."""

    @property
    def name(self) -> str:
        """The user's name for the job."""
        ...

    @property
    def data(self) -> DataSpec:
        """The text that trials read."""
        ...

    @property
    def reuse(self) -> bool:
        """Whether finished trials of other jobs may be reused."""
        ...

    @property
    def batches(self) -> tuple[int, ...]:
        """Batch sizes in tokens."""
        ...


class Report(Protocol):
    """The fields that reports of all kinds share."""

    @property
    def final(self) -> bool:
        """Whether the report will not change any more."""
        ...

    @property
    def verdict(self) -> str:
        """`resolved`, or another word of its kind."""
        ...

    @property
    def reason(self) -> str:
        """The reason of the verdict."""
        ...


Q = TypeVar("Q", bound=Question)
R = TypeVar("R", bound=Report)
P = TypeVar("P")


def as_it_is(document: dict[str, Any]) -> dict[str, Any]:
    """The codec of kinds whose documents need no conversion."""
    return document


def all_problems(problems: Iterable[Problem], document: dict[str, Any]) -> tuple[Problem, ...]:
    """The problems of documents that need no conversion."""
    return tuple(problems)


def unknown_flops(forecast: Any) -> float | None:
    """The expected FLOPs of kinds without such a forecast."""
    return None


def no_variant(question: Any, spec: TrialSpec) -> str:
    """The empty variant, of kinds without variants."""
    return ""


def single_model(question: Any) -> tuple[Any, ...]:
    """The model of kinds with a single one."""
    return (question.model,)


def own_text(question: Question) -> dict[str, DataSpec]:
    """The text of kinds with a single one."""
    return {"data": question.data}


def with_own_text(question: Any, texts: Sequence[DataSpec]) -> Any:
    """The question with its single text replaced."""
    (data,) = texts
    return replace(question, data=data)


def without_own_models(question: Any, seen: Callable[[Any, str], Any]) -> Any:
    """The question of kinds that accept no user's models."""
    return question


@dataclass(frozen=True, kw_only=True)
class Kind(Generic[Q, R, P]):
    """Everything that a kind of study provides."""

    name: str
    """The value of `kind` in documents."""
    question: type[Q]
    report: type[R]
    preview: type[P]
    check: Callable[[Q], Q]
    """The question itself. Raises InvalidInput with all its problems."""
    plan: Callable[[Q, Sequence[Trial]], Plan]
    """The plan, given the terminal trials in any order. A plan that is not `done` has trials."""
    answer: Callable[[Q, Sequence[Trial], Ended | None], R]
    """The report, given the terminal trials and the premature end of the study, if any."""
    forecast: Callable[[Q, Machine | None], P]
    """The expected runs and cost of a question."""
    models: Callable[[Q], tuple[Any, ...]] = single_model
    """The models of a question, at the widths that it names."""
    analyse: Callable[[Q, Sequence[Trial]], Any] | None = None
    """The analysis of trials at any target loss, for kinds with such tables."""
    ladders: Callable[[Q], Iterator[CheckedLadder]] | None = None
    """The ladders, each with its coordinate check, for kinds that compare widths."""
    expected_flops: Callable[[P], float | None] = unknown_flops
    """FLOPs of the whole study by its forecast, the reference for progress."""
    reads_curves: bool = False
    """Whether reports need the outlines of curves; plans are made without them."""
    texts: Callable[[Q], dict[str, DataSpec]] = own_text
    """The data that trials read, by field."""
    with_texts: Callable[[Q, Sequence[DataSpec]], Q] = with_own_text
    with_models: Callable[[Q, Callable[[Any, str], Any]], Q] = without_own_models
    """The question with each model replaced by a function of the model and its field."""
    variant_of: Callable[[Q, TrialSpec], str] = no_variant
    """The variant that plans a run, for rows that do not store it."""
    expand: Callable[[dict[str, Any]], dict[str, Any]] = as_it_is
    """The user's document with inherited fields filled in."""
    collapse: Callable[[dict[str, Any]], dict[str, Any]] = as_it_is
    """The inverse of `expand`."""
    as_given: Callable[[Iterable[Problem], dict[str, Any]], tuple[Problem, ...]] = all_problems
    """Problems of an expanded document, as problems of the user's document."""

    def of(self, question: Q) -> "Study[Q, R, P]":
        """The study of a question."""
        return Study(self, question)


@dataclass(frozen=True)
class Study(Generic[Q, R, P]):
    """A question and the kind that answers it: a pure fold over the question's finished trials."""

    kind: Kind[Q, R, P]
    question: Q

    def plan(self, trials: Sequence[Trial]) -> Plan:
        """The plan, given the terminal trials in any order."""
        return self.kind.plan(self.question, trials)

    def report(self, trials: Sequence[Trial], ended: Ended | None = None) -> R:
        """The answer so far; final where the plan is done, or where `ended` gives the reason of a
        premature end.
        """
        return self.kind.answer(self.question, trials, ended)

    def preview(self, machine: Machine | None = None) -> P:
        """The expected runs and cost of the study."""
        return self.kind.forecast(self.question, machine)


AnyStudy = Study[Any, Any, Any]
