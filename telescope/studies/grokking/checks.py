"""Checks of a well-typed grokking document. Each problem names a field and a remedy."""

from collections.abc import Iterator

from telescope.errors import Problem
from telescope.studies.grokking.bill import most_trials
from telescope.studies.grokking.question import HyperparameterSearch, Question

LOWEST_LR, HIGHEST_LR = 1e-9, 1e9


def problems(question: Question) -> tuple[Problem, ...]:
    """The `field_problems` of a question. If it has none, its `budget_problems`."""
    return tuple(field_problems(question)) or tuple(budget_problems(question))


def field_problems(question: Question) -> Iterator[Problem]:
    """Problems of single fields, and of fields that do not fit together."""
    names = question.optimizers
    if not names:
        yield Problem("optimizer", "is an empty list; name muon, adamw, or both", [])
    for field, values in (
        ("optimizer", names),
        ("softmax", question.softmaxes),
        ("data", question.tables),
    ):
        if len(set(values)) < len(values):
            yield Problem(field, "has an entry twice; name each once")
    titles = [table.title for table in question.tables]
    if len(set(question.tables)) == len(titles) > len(set(titles)):
        yield Problem("data", "lists tasks that tables cannot tell apart; name each once", titles)
    if any(table.split_seed for table in question.tables):
        message = "is set by the seeds of the study; leave split_seed out"
        yield Problem("data", f"split_seed {message}")
    yield from question.model.problems(question.optimizer_options)
    yield from protocol_problems(question)
    runs = question.runs
    if runs.evaluate_epochs > runs.epochs:
        message = f"is longer than a run of {runs.epochs} epochs; use {runs.epochs} or fewer"
        yield Problem("runs.evaluate_epochs", message, runs.evaluate_epochs)
    elif runs.sustained_evaluations * runs.evaluate_epochs > runs.epochs:
        most = runs.epochs // runs.evaluate_epochs
        message = (
            f"asks for more evaluations than the {most} of a run; use {most} or fewer, or more "
            "epochs"
        )
        yield Problem("runs.sustained_evaluations", message, runs.sustained_evaluations)


def protocol_problems(question: Question) -> Iterator[Problem]:
    """Problems of the source of hyperparameters."""
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
    """Problems of the grid."""
    lr = tuning.lr
    if lr.low >= lr.high:
        message = f"low {lr.low:g} is not below high {lr.high:g}; swap them"
        yield Problem("tuning.lr.low", message, lr.low)
    elif lr.low < LOWEST_LR or lr.high > HIGHEST_LR:
        message = (
            f"learning rates must lie within {LOWEST_LR:g} to {HIGHEST_LR:g}; choose a narrower "
            "range"
        )
        yield Problem("tuning.lr", message, lr.low)
    elif lr.points < 2:
        message = "a single learning rate is no search; use 3 or more, or protocol: paper"
        yield Problem("tuning.lr.points", message, lr.points)
    for name in ("weight_decay", "adamw_lr_ratio"):
        values = getattr(tuning, name)
        if len(set(values)) < len(values):
            yield Problem(f"tuning.{name}", "names a value twice; name each once", list(values))


def budget_problems(question: Question) -> Iterator[Problem]:
    """Problems of the number of runs."""
    most = most_trials(question)
    if most > question.limits.max_trials:
        message = (
            f"the study may need {most} trials; raise it to {most}, or use fewer cells, seeds or "
            "points"
        )
        yield Problem("limits.max_trials", message, question.limits.max_trials)
