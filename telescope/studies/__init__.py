"""Studies, which turn a question into trials, and trials into an answer.

A **study** is a frozen question. It is a pure fold over its trials:

    plan(trials)   -> Plan(trials, done)  which trials the question needs now
    report(trials) -> Report              what the trials so far answer

and holds no other state: after a crash, read the trials and call `plan` again. Three rules keep the
fold pure:

1. A plan is a list of stages. Stage s depends only on the finished trials of the stages before it:
   not on their order, on clocks, or on trials of later stages. It is emitted whole and decided when
   all its trials are terminal.
2. Planned numbers lie on a lattice (`telescope.trials.lattice.snap`), so that equal plans have
   equal digests.
3. Measured seconds may enter the report, never the plan.

`run_study` below is the whole loop. The service does the same with a database and many workers in
between, and a test asserts that its report equals this loop's. Each kind of study is a package
here, listed in `telescope.studies.registry`.

In reading order: `kind`, the interface of every kind · `ranges` and `problems` of documents ·
`coordinates`, `forecast`, `style`, shared by kinds · `telescoping`, `compute_time`, the kinds ·
`registry`.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

from telescope.studies.kind import Plan, Question, Report, Study
from telescope.trials.outcome import Measurement, Trial, completed
from telescope.trials.spec import TrialSpec

__all__ = ["Plan", "Study", "run_study"]

Q = TypeVar("Q", bound=Question)
R = TypeVar("R", bound=Report)
P = TypeVar("P")


def run_study(study: Study[Q, R, P], train_one: Callable[[TrialSpec], Iterable[Measurement]]) -> R:
    """Answer a study in this process, one trial after the other; the reference for the service."""
    trials: list[Trial] = []
    while not (plan := study.plan(trials)).done:
        trials += [completed(spec, list(train_one(spec))) for spec in plan.start]
    return study.report(trials)
