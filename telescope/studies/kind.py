"""`Kind`, the interface of a kind of study, and `Study`, a question with its kind.

A kind of study, such as the telescoping study, is a value of the class `Kind`. The fields of this
value include the functions that check a question, plan trials and make the report. To add a kind,
write a package with a `Kind`, and add the kind to `telescope.studies.registry.KINDS`.

A study plans in *stages*: sets of trials that are planned together. A trial is *terminal* if its
state is completed, failed or stopped. A *ladder* is a part of a study: the runs with one optimizer,
model and data set. A *level* of a ladder consists of the runs at one width. Some studies compare
*variants*. In a telescoping study, a variant is a model or a data set. In a grokking study, it is a
task with a variant of softmax.

Parts: `Plan`, the trials to train, with their `Label` · `Ended`, the premature end of a study ·
`CheckedLadder` · `Question` and `Report`, the fields that all kinds share · `Kind` · `Study`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar

from telescope.errors import InvalidInput, Problem
from telescope.studies.coordinates.design import Design
from telescope.studies.forecast.pace import Machine
from telescope.trials.data import AnyData
from telescope.trials.outcome import Trial
from telescope.trials.spec import TrialSpec
from telescope.trials.types import OptimizerName


@dataclass(frozen=True)
class Label:
    """The place of a planned trial in its study."""

    ladder: OptimizerName  # the ladder's optimizer
    stage: str
    level: int | None = None  # index of the level; None for a trial without a level
    variant: str = ""  # empty if the study compares no variants


@dataclass(frozen=True)
class Planned:
    """A trial that a study needs, with its place in the study."""

    spec: TrialSpec
    label: Label


@dataclass(frozen=True)
class Plan:
    """The trials that a study needs next."""

    trials: tuple[Planned, ...]  # trials of the current stages that are not completed
    done: bool  # true if the study needs no more trials

    @property
    def start(self) -> tuple[TrialSpec, ...]:
        """The specifications of the planned trials."""
        return tuple(planned.spec for planned in self.trials)


class EndCause(StrEnum):
    """Why a study, or one of its ladders, ended before its question was answered."""

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
    """The text of the cause that ended a study. `detail` is the text of the failure, if a failure
    ended the study."""
    text = END_TEXTS.get(cause, cause)
    return f"{text}: {detail}" if detail else text


@dataclass(frozen=True)
class Ended:
    """The premature end of a study."""

    cause: EndCause
    detail: str | None = None  # the text of the failure, if a failure ended the study

    def __str__(self) -> str:
        return end_text(self.cause, self.detail)


@dataclass(frozen=True)
class CheckedLadder:
    """A ladder of a study, and the design of the ladder's coordinate check. The check trains
    models of several widths for a few steps, to test their parametrisation."""

    optimizer: str
    variant: str
    design: Design


class Question(Protocol):
    """The fields that the questions of all kinds have. A question is a validated document."""

    @property
    def name(self) -> str:
        """The user's name for the job."""
        ...

    @property
    def data(self) -> Any:
        """The data that trials read: one `AnyData` or several."""
        ...

    @property
    def reuse(self) -> bool:
        """True if completed trials of other jobs may be reused."""
        ...

    @property
    def batches(self) -> tuple[int, ...]:
        """The batch sizes that the question names, in tokens."""
        ...


class Report(Protocol):
    """The fields that the reports of all kinds have."""

    @property
    def final(self) -> bool:
        """True if the report cannot change any more."""
        ...

    @property
    def verdict(self) -> str:
        """The verdict. `Kind.conclusive` contains the verdicts that answer the question."""
        ...

    @property
    def reason(self) -> str:
        """The reason for the verdict."""
        ...


Q = TypeVar("Q", bound=Question)
R = TypeVar("R", bound=Report)
P = TypeVar("P")


def unchanged(document: dict[str, Any]) -> dict[str, Any]:
    """The default of `Kind.expand` and `Kind.collapse`, for kinds whose documents are not
    converted."""
    return document


def unchanged_problems(
    problems: Iterable[Problem], document: dict[str, Any]
) -> tuple[Problem, ...]:
    """The default of `Kind.as_given`, for kinds whose documents are not converted."""
    return tuple(problems)


def unknown_flops(forecast: Any) -> float | None:
    """The default of `Kind.expected_flops`, for kinds that do not forecast FLOPs."""
    return None


def no_variant(question: Any, spec: TrialSpec) -> str:
    """The default of `Kind.variant_of`, for kinds without variants."""
    return ""


def single_model(question: Any) -> tuple[Any, ...]:
    """The default of `Kind.models`, for kinds whose questions have one model."""
    return (question.model,)


def single_text(question: Question) -> Mapping[str, AnyData]:
    """The default of `Kind.texts`, for kinds whose questions have one corpus or mixture of
    corpora."""
    return {"data": question.data}


def with_single_text(question: Any, texts: Sequence[AnyData]) -> Any:
    """The default of `Kind.with_texts`, for kinds whose questions have one corpus or mixture of
    corpora."""
    (data,) = texts
    return replace(question, data=data)


def without_user_models(question: Any, replacement: Callable[[Any, str], Any]) -> Any:
    """The default of `Kind.with_models`, for kinds that do not accept users' models."""
    return question


@dataclass(frozen=True, kw_only=True)
class Kind(Generic[Q, R, P]):
    """The functions and properties of a kind of study."""

    name: str
    """The value of the field `kind` in documents."""
    question: type[Q]
    report: type[R]
    preview: type[P]
    problems: Callable[[Q], Iterable[Problem]]
    """The problems of a question. A question with problems is refused."""
    plan: Callable[[Q, Sequence[Trial]], Plan]
    """Plan the next trials. The arguments are the question and the terminal trials of the study, in
    any order. A plan that is not `done` has trials."""
    answer: Callable[[Q, Sequence[Trial], Ended | None], R]
    """Make the report. The arguments are the question, the terminal trials of the study, and the
    premature end of the study; None if the study did not end prematurely."""
    forecast: Callable[[Q, Machine | None], P]
    """Forecast the trials and their cost. Without a machine, speeds are assumed."""
    models: Callable[[Q], tuple[Any, ...]] = single_model
    """The models that a question names: one per variant, or a single model for all variants."""
    analyse: Callable[[Q, Sequence[Trial]], Any] | None = None
    """Analyse the terminal trials. The analysis gives tables for any target loss. None for kinds
    without such tables."""
    ladders: Callable[[Q], Iterator[CheckedLadder]] | None = None
    """The ladders of a question, with the designs of their coordinate checks. None for kinds
    without coordinate checks."""
    expected_flops: Callable[[P], float | None] = unknown_flops
    """The expected FLOPs of the whole study, from its preview; None if unknown. Progress views show
    the share of these FLOPs that is spent."""
    conclusive: frozenset[str] = frozenset({"resolved"})
    """The verdicts that answer the question. They decide the exit status of `telescope run` and
    `telescope result`."""
    reads_curves: bool = False
    """True if reports need the outlines of trials: their loss curves, reduced to few points. Plans
    must not need outlines."""
    texts: Callable[[Q], Mapping[str, AnyData]] = single_text
    """The data that trials read, keyed by the field of the document that names the data."""
    with_texts: Callable[[Q, Sequence[Any]], Q] = with_single_text
    """The question with other data. The data are given in the order of `texts`."""
    with_models: Callable[[Q, Callable[[Any, str], Any]], Q] = without_user_models
    """Return the question with its models replaced. The second argument is a function that takes a
    model and the model's field in the document, and returns the replacement."""
    variant_of: Callable[[Q, TrialSpec], str] = no_variant
    """The name of the variant that a trial belongs to. It is needed for trials that are stored
    without a label."""
    expand: Callable[[dict[str, Any]], dict[str, Any]] = unchanged
    """Return a copy of a user's document with the inherited fields filled in. An inherited field
    takes its value from another field of the document."""
    collapse: Callable[[dict[str, Any]], dict[str, Any]] = unchanged
    """The inverse of `expand`: the user's document, from the expanded one."""
    as_given: Callable[[Iterable[Problem], dict[str, Any]], tuple[Problem, ...]] = (
        unchanged_problems
    )
    """Translate problems of an expanded document to problems of the user's document, which is the
    second argument."""

    def check(self, question: Q) -> Q:
        """Return the question unchanged. Raises InvalidInput if the question has problems."""
        if problems := tuple(self.problems(question)):
            raise InvalidInput.because(problems)
        return question

    def of(self, question: Q) -> "Study[Q, R, P]":
        """The study of a question."""
        return Study(self, question)


@dataclass(frozen=True)
class Study(Generic[Q, R, P]):
    """A question and the kind that answers it."""

    kind: Kind[Q, R, P]
    question: Q

    def plan(self, trials: Sequence[Trial]) -> Plan:
        """The plan after these terminal trials. Their order does not matter."""
        return self.kind.plan(self.question, trials)

    def report(self, trials: Sequence[Trial], ended: Ended | None = None) -> R:
        """The report on these terminal trials. `ended` is the premature end of the study; None if
        the study did not end prematurely."""
        return self.kind.answer(self.question, trials, ended)

    def preview(self, machine: Machine | None = None) -> P:
        """The expected trials and cost of the study."""
        return self.kind.forecast(self.question, machine)


AnyStudy = Study[Any, Any, Any]
