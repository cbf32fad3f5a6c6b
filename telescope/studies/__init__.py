"""Studies, which turn a question into trials, and trials into an answer.

A **study** is a frozen question and its kind. It is a pure fold over its trials:

    plan(trials)   -> Plan(trials, done)  the trials that the question needs next
    report(trials) -> Report              the answer, as far as the trials give one

A study has no other state: after a crash, read the trials and call `plan` again. Three rules keep
the fold pure:

1. A study plans in stages. A stage depends only on the finished trials of earlier stages: not on
   the order of these trials, on clocks, or on trials of later stages. All trials of a stage are
   planned at once, and the stage is decided when all of them are terminal.
2. Planned numbers lie on a lattice (`telescope.trials.lattice.snap`), so that equal plans have
   equal digests.
3. Measured seconds may enter the report, never the plan.

`run_study` below is the whole loop. The service runs the same loop with a database and many workers
in between, and a test asserts that both loops give the same report. Each kind of study is a package
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
    """Run a study in this process, one trial after the other, and return its report, which is the
    reference for the service."""
    trials: list[Trial] = []
    while not (plan := study.plan(trials)).done:
        trials += [completed(spec, list(train_one(spec))) for spec in plan.start]
    return study.report(trials)
