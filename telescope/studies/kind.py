"""The interface of a kind of study, and a study: a question with its kind.

A kind is a frozen value. Code outside the kind's package uses only the fields of `Kind`, so a new
kind is a package with a `Kind` and an entry in `telescope.studies.registry.KINDS`.

Parts: `Label`, `Planned`, `Plan` · `EndCause`, `Ended` · `Question` and `Report`, the fields that
all kinds share · `Kind`, with the defaults of its fields · `Study`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar

from telescope.errors import Problem
from telescope.studies.coordinates.design import Design
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
    level: int | None = None  # None for trials that belong to no level of a ladder
    variant: str = ""  # empty if the study compares no variants


@dataclass(frozen=True)
class Planned:
    """A trial that a study needs, with its place in the study."""

    spec: TrialSpec
    label: Label


@dataclass(frozen=True)
class Plan:
    """The unfinished trials of the current stages."""

    trials: tuple[Planned, ...]
    done: bool  # whether the question is answered

    @property
    def start(self) -> tuple[TrialSpec, ...]:
        """The specifications of the trials."""
        return tuple(planned.spec for planned in self.trials)


class EndCause(StrEnum):
    """Why a study, or one of its ladders, ends before its question is answered."""

    OUT_OF_TIME = "limit:max_seconds"
    OUT_OF_TRIALS = "limit:max_trials"
    OUT_OF_FLOPS = "limit:max_flops"
    FAILED = "failed"
    CANCELLED = "cancelled"


END_TEXTS: Mapping[str, str] = {
    EndCause.OUT_OF_TIME: "limits.max_seconds is used up",
    EndCause.OUT_OF_TRIALS: "limits.max_trials is used up",
    EndCause.OUT_OF_FLOPS: "limits.max_flops is used up",
}


def end_text(cause: str, detail: str | None = None) -> str:
    """The text of the cause that ended a study; `detail` is the failure, if there was one."""
    text = END_TEXTS.get(cause, cause)
    return f"{text}: {detail}" if detail else text


@dataclass(frozen=True)
class Ended:
    """The premature end of a study. `str` gives the reason as reports state it."""

    cause: EndCause
    detail: str | None = None  # the failure, if a failure ended the study

    def __str__(self) -> str:
        return end_text(self.cause, self.detail)


@dataclass(frozen=True)
class CheckedLadder:
    """A ladder of a study, and the design of its coordinate check."""

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
        """The data that trials read."""
        ...

    @property
    def reuse(self) -> bool:
        """True if finished trials of other jobs may be reused."""
        ...

    @property
    def batches(self) -> tuple[int, ...]:
        """Batch sizes in tokens."""
        ...


class Report(Protocol):
    """The fields that reports of all kinds share."""

    @property
    def final(self) -> bool:
        """True if the report cannot change any more."""
        ...

    @property
    def verdict(self) -> str:
        """`resolved`, or another verdict of the report's kind."""
        ...

    @property
    def reason(self) -> str:
        """The reason for the verdict."""
        ...


Q = TypeVar("Q", bound=Question)
R = TypeVar("R", bound=Report)
P = TypeVar("P")


def unchanged(document: dict[str, Any]) -> dict[str, Any]:
    """`expand` and `collapse` of kinds whose documents need no conversion."""
    return document


def unchanged_problems(
    problems: Iterable[Problem], document: dict[str, Any]
) -> tuple[Problem, ...]:
    """`as_given` of kinds whose documents need no conversion."""
    return tuple(problems)


def unknown_flops(forecast: Any) -> float | None:
    """`expected_flops` of kinds whose previews contain no FLOPs."""
    return None


def no_variant(question: Any, spec: TrialSpec) -> str:
    """`variant_of` of kinds without variants."""
    return ""


def single_model(question: Any) -> tuple[Any, ...]:
    """`models` of kinds whose questions have one model."""
    return (question.model,)


def single_text(question: Question) -> dict[str, DataSpec]:
    """`texts` of kinds whose questions have one corpus or mixture."""
    return {"data": question.data}


def with_single_text(question: Any, texts: Sequence[DataSpec]) -> Any:
    """`with_texts` of kinds whose questions have one corpus or mixture."""
    (data,) = texts
    return replace(question, data=data)


def without_user_models(question: Any, replacement: Callable[[Any, str], Any]) -> Any:
    """`with_models` of kinds that do not accept users' models."""
    return question


@dataclass(frozen=True, kw_only=True)
class Kind(Generic[Q, R, P]):
    """Everything that a kind of study provides."""

    name: str
    """The value of the field `kind` in documents."""
    question: type[Q]
    report: type[R]
    preview: type[P]
    check: Callable[[Q], Q]
    """Return the question unchanged. Raises InvalidInput with the problems of the question."""
    plan: Callable[[Q, Sequence[Trial]], Plan]
    """Plan from the terminal trials, in any order. A plan that is not `done` has trials."""
    answer: Callable[[Q, Sequence[Trial], Ended | None], R]
    """Report from the terminal trials, and from the premature end of the study, if any."""
    forecast: Callable[[Q, Machine | None], P]
    """Forecast the trials and their cost; without a machine, from assumed speeds."""
    models: Callable[[Q], tuple[Any, ...]] = single_model
    """The models of a question, at the widths that the question names."""
    analyse: Callable[[Q, Sequence[Trial]], Any] | None = None
    """Analyse the terminal trials for tables at any target loss; None for kinds without tables."""
    ladders: Callable[[Q], Iterator[CheckedLadder]] | None = None
    """The ladders with the designs of their coordinate checks; None for kinds that do not compare
    widths."""
    expected_flops: Callable[[P], float | None] = unknown_flops
    """The FLOPs of the whole study, from its preview, to measure progress by; None if unknown."""
    reads_curves: bool = False
    """True if reports need the outlines of trials; plans never need outlines."""
    texts: Callable[[Q], dict[str, DataSpec]] = single_text
    """The data that trials read, keyed by the field of the document."""
    with_texts: Callable[[Q, Sequence[DataSpec]], Q] = with_single_text
    """The question with other data, given in the order of `texts`."""
    with_models: Callable[[Q, Callable[[Any, str], Any]], Q] = without_user_models
    """The question with each model replaced by the result of a function of the model and the
    model's field in the document."""
    variant_of: Callable[[Q, TrialSpec], str] = no_variant
    """The variant that plans a trial, for stored trials whose label lacks the variant."""
    expand: Callable[[dict[str, Any]], dict[str, Any]] = unchanged
    """Fill in the fields of a user's document that are inherited from other fields."""
    collapse: Callable[[dict[str, Any]], dict[str, Any]] = unchanged
    """The inverse of `expand`."""
    as_given: Callable[[Iterable[Problem], dict[str, Any]], tuple[Problem, ...]] = (
        unchanged_problems
    )
    """Translate problems of an expanded document to problems of the user's document."""

    def of(self, question: Q) -> "Study[Q, R, P]":
        """The study of a question."""
        return Study(self, question)


@dataclass(frozen=True)
class Study(Generic[Q, R, P]):
    """A question and the kind that answers it: a pure fold over the finished trials."""

    kind: Kind[Q, R, P]
    question: Q

    def plan(self, trials: Sequence[Trial]) -> Plan:
        """The plan after these terminal trials, in any order."""
        return self.kind.plan(self.question, trials)

    def report(self, trials: Sequence[Trial], ended: Ended | None = None) -> R:
        """The answer so far; final if the plan is done or the study ended prematurely."""
        return self.kind.answer(self.question, trials, ended)

    def preview(self, machine: Machine | None = None) -> P:
        """The expected trials and cost of the study."""
        return self.kind.forecast(self.question, machine)


AnyStudy = Study[Any, Any, Any]
