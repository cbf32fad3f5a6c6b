"""Checks of a well-typed grokking document. A problem names a field and a remedy."""

from collections.abc import Iterator

from telescope.errors import Problem, under
from telescope.studies.grokking.bill import most_trials
from telescope.studies.grokking.question import MOST_TRIALS, HyperparameterSearch, Question
from telescope.studies.grokking.search import in_octaves
from telescope.studies.ranges import Range, ends_problem, octaves_of, spacing_problem
from telescope.trials.optimizer import convention_problems
from telescope.trials.table import TableSpec

MOST_STEPS = 2**31 - 1


def problems(question: Question) -> tuple[Problem, ...]:
    """The `field_problems` of a question; if there are none, its `budget_problems`."""
    return tuple(field_problems(question)) or tuple(budget_problems(question))


def field_problems(question: Question) -> Iterator[Problem]:
    """Problems of single fields, and of fields that do not fit together."""
    names = question.optimizers
    if not names:
        yield Problem("optimizer", "is an empty list; name muon, adamw, or both", [])
    for field, values in (("optimizer", names), ("softmax", question.softmaxes)):
        if len(set(values)) < len(values):
            yield Problem(field, "has an entry twice; name each once", list(values))
    yield from task_problems(question)
    yield from question.model.problems(question.optimizer_options)
    for problem in convention_problems(question.parametrisation, question.optimizer_options):
        yield under("optimizer_options", problem)
    yield from protocol_problems(question)
    yield from run_problems(question)


def task_problems(question: Question) -> Iterator[Problem]:
    """Problems of tasks that are given twice or share a title, and of tasks with a split seed."""
    fields_by_table: dict[TableSpec, str] = {}
    fields_by_title: dict[str, str] = {}
    for field, table in question.tables_by_field.items():
        if table in fields_by_table:
            message = f"is the same as {fields_by_table[table]}; leave one of them out"
            yield Problem(field, message, table.title)
        elif table.title in fields_by_title:
            message = (
                f"has the same title as {fields_by_title[table.title]}, so a report could not tell "
                "them apart; leave one of them out, or rename the file of a table"
            )
            yield Problem(field, message, table.title)
        fields_by_table.setdefault(table, field)
        fields_by_title.setdefault(table.title, field)
        if table.split_seed:
            message = "is set by the seeds of the study; leave it out"
            yield Problem(f"{field}.split_seed", message, table.split_seed)


def run_problems(question: Question) -> Iterator[Problem]:
    """Problems of the length and the evaluations of a run."""
    runs = question.runs
    if runs.evaluate_epochs > runs.epochs:
        message = f"is longer than a run of {runs.epochs} epochs; use {runs.epochs} or fewer"
        yield Problem("runs.evaluate_epochs", message, runs.evaluate_epochs)
    elif runs.sustained_evaluations * runs.evaluate_epochs > runs.epochs:
        most = runs.epochs // runs.evaluate_epochs
        interval = "epoch" if runs.evaluate_epochs == 1 else f"{runs.evaluate_epochs} epochs"
        message = (
            f"takes longer than a run of {runs.epochs} epochs, with an evaluation every "
            f"{interval}; use {most} or fewer, or raise runs.epochs"
        )
        yield Problem("runs.sustained_evaluations", message, runs.sustained_evaluations)
    # the number of rows is known once the tables have been read
    known = [table for table in question.tables if table.train_rows]
    steps = [table.steps_per_epoch(runs.batch_rows * table.context) for table in known]
    if (longest := runs.epochs * max(steps, default=0)) > MOST_STEPS:
        message = (
            f"gives a run of {longest} steps, and the limit is {MOST_STEPS}; use "
            f"{MOST_STEPS // max(steps)} or fewer"
        )
        yield Problem("runs.epochs", message, runs.epochs)


def protocol_problems(question: Question) -> Iterator[Problem]:
    """Problems of the sections `fixed` and `tuning` under the study's protocol."""
    if question.protocol == "paper" and question.tuning is not None:
        message = "is not used under protocol: paper; leave it out, or use protocol: tuned"
        yield Problem("tuning", message)
    if question.protocol == "tuned":
        if question.fixed is not None:
            message = "is not used under protocol: tuned; leave it out, or use protocol: paper"
            yield Problem("fixed", message)
        if question.tuning is None:
            message = "is missing; give the grid of learning rates, or use protocol: paper"
            yield Problem("tuning", message)
        else:
            yield from tuning_problems(question.tuning)


def tuning_problems(tuning: HyperparameterSearch) -> Iterator[Problem]:
    """Problems of the grid of a search."""
    alternative = ", or use protocol: paper"
    problem = ends_problem(tuning.lr, "learning rate", alternative) or search_points_problem(
        tuning.lr
    )
    if problem:
        yield under("tuning.lr", problem)
    for name in ("weight_decay", "adamw_lr_ratio"):
        values = getattr(tuning, name)
        if len(set(in_octaves(values))) < len(values):
            message = "has values that are less than about 1 % apart; leave one of them out"
            yield Problem(f"tuning.{name}", message, list(values))


def search_points_problem(lr: Range) -> Problem | None:
    """The problem of the number of learning rates; None if there is none."""
    if lr.points < 2:
        message = "a single learning rate is no search; use 2 or more, or protocol: paper"
        return Problem("points", message, lr.points)
    return spacing_problem(lr, octaves_of(lr), fewest=2)


def budget_problems(question: Question) -> Iterator[Problem]:
    """A problem if the study may need more trials than its limit."""
    most = most_trials(question)
    if most > question.limits.max_trials:
        remedy = "use fewer cells, seeds or points"
        if most <= MOST_TRIALS:
            remedy = f"raise it to {most}, or {remedy}"
        message = f"the study may need {most} trials; {remedy}"
        yield Problem("limits.max_trials", message, question.limits.max_trials)
