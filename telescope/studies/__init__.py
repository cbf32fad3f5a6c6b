"""Studies, which turn a question into trials, and trials into an answer.

A *trial* is one training run. A *study* is a question, which never changes, and the kind of study
that answers it. A study has two functions of its trials:

    plan(trials)   -> Plan(trials, done)  the trials that the question needs next
    report(trials) -> Report              the answer, as far as the trials give one

The trials are the only state of a study that changes. After a crash, read the trials from the
database and call `plan` again. Three rules make sure that the same trials always give the same
plan:

1. A study plans in stages. All trials of a stage are planned at once, and the stage ends when all
   of them are terminal (completed, failed or stopped). A stage depends only on the trials of
   earlier stages. The order of these trials does not matter, and no clock is read.
2. Planned numbers are rounded (`telescope.trials.lattice.snap`), so that a new fit of the same
   trials plans the same numbers.
3. Measured seconds may enter the report, but never the plan.

`run_study` below is the whole loop. The service runs the same loop with a database and many
workers. A test asserts that both loops give the same report. Each kind of study is a package in
this folder, listed in `telescope.studies.registry`.

In reading order: `kind`, the interface of every kind · `endings`, the reasons why a study of any
kind has no answer · `ranges`, the type of hyperparameter ranges in documents · `problems`, which
turns pydantic's errors into telescope's problems · `coordinates`, a test of a parametrisation ·
`forecast`, parts of cost forecasts · `style`, colours of pictures · `telescoping`, `compute_time`
and `grokking`, the kinds · `registry`, the list of kinds.
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
    """Run a study in this process, one trial after the other, and return its report."""
    trials: list[Trial] = []
    while not (plan := study.plan(trials)).done:
        trials += [completed(spec, list(train_one(spec))) for spec in plan.start]
    return study.report(trials)
