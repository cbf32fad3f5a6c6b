"""How does a question become trials, and trials an answer?

A **study** is a frozen question. It is a pure fold over its trials:

    plan(trials)   -> Plan(start, done)   which trials the question needs now
    report(trials) -> Report              what the trials so far answer

and holds no state besides itself: after a crash one reads the trials and calls `plan` again. Three rules keep the fold pure:

1. A plan is a list of stages. Stage s depends on the finished trials of the stages before it, and on nothing else: not on their
   order, not on clocks, not on trials of later stages. It is emitted whole and decided when all its trials are terminal.
2. Planned numbers lie on a lattice (`telescope.spec.snap`), so that equal plans have equal digests.
3. Measured seconds may enter the report, never the plan.

`run` below is the whole loop. The service does the same with a database and many workers in between, and a test holds its report
equal to this loop's. Each kind of study is a package here, entered in `telescope.studies.registry`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from telescope.spec import TrialSpec
from telescope.trial import Measurement, Trial, completed


@dataclass(frozen=True)
class Plan:
    """The trials of the current stages that have not ended yet, and whether the question is answered."""

    start: tuple[TrialSpec, ...]
    done: bool


class Study(Protocol):
    """A question whose answer is a pure function of its finished trials."""

    Report: ClassVar[type]
    reads_curves: ClassVar[bool]
    """Whether its report needs the outlines of its trials; its plan is made without them."""

    @property
    def kind(self) -> str:
        """Its name in the registry."""
        ...

    @property
    def name(self) -> str:
        """What its author calls it."""
        ...

    @property
    def reuse(self) -> bool:
        """Whether finished trials of other jobs may stand in for its own."""
        ...

    def plan(self, trials: Sequence[Trial]) -> Plan:
        """What to run, given the terminal trials, in any order. Plans that are not `done` start something."""
        ...

    def report(self, trials: Sequence[Trial], ended: str = "") -> Any:
        """The answer that the terminal trials amount to; `final` where the plan is done, or where `ended` says why nothing follows."""
        ...


def run(study: Study, train_one: Callable[[TrialSpec], Iterable[Measurement]]) -> Any:
    """Answer a study in this process, one trial after the other: the reference that the service is held to."""
    trials: list[Trial] = []
    while not (plan := study.plan(trials)).done:
        trials += [completed(spec, list(train_one(spec))) for spec in plan.start]
    return study.report(trials)
