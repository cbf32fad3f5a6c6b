"""Studies, which turn a question into trials, and trials into an answer.

A *trial* is one training run. A *study* consists of a question, which never changes, and a kind,
which defines how such questions are answered. A study has two main methods:

    plan(trials)   -> Plan(trials, done)  the trials that the question needs next
    report(trials) -> Report              the answer, as far as the trials give one

Of a study, only the trials change. After a crash, the trials are read from the database, and `plan`
is called again. Three rules keep plans reproducible:

1. A study plans in stages. All trials of a stage are planned at once. A stage depends only on the
   trials of earlier stages. The order of these trials does not matter, and no clock is read.
2. Planned numbers are rounded (`telescope.trials.lattice.snap`). Otherwise, a new fit of the same
   trials could plan numbers that differ in the last digits.
3. Measured seconds may enter the report, but never the plan.

`run_study` below is the whole loop, without a database. The service runs this loop with a database
and many workers. The kinds of study are packages in this folder; `telescope.studies.registry` lists
them.

In reading order: `kind`, the interface of a kind · `endings`, two reasons why a study has no
answer · `ranges`, the type of hyperparameter ranges in documents · `problems`, which turns
pydantic's errors into telescope's problems · `coordinates`, a test of a parametrisation ·
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
    """Run a study in this process, one trial after another, and return the report. `train_one`
    trains a trial and yields the points of its loss curve."""
    trials: list[Trial] = []
    while not (plan := study.plan(trials)).done:
        trials += [completed(spec, list(train_one(spec))) for spec in plan.start]
    return study.report(trials)
