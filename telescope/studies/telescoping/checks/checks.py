"""All checks of a document, in the order in which their problems are reported."""

from collections.abc import Iterator

from telescope.errors import Problem, under
from telescope.studies.telescoping.checks.published_rule import published_rule_problems
from telescope.studies.telescoping.checks.search import limit_problems, search_problems
from telescope.studies.telescoping.checks.sections import section_problems
from telescope.studies.telescoping.checks.variants import duplicate_problems, sweep_problems
from telescope.studies.telescoping.question.question import Question
from telescope.trials.optimizer import convention_problems


def problems(question: Question) -> tuple[Problem, ...]:
    """The problems of a document whose fields all have valid types.

    The checks run in groups. A group runs only if the earlier groups found no problem, because
    later groups build variants, ladders and trials, which need a valid document.
    """
    return (
        tuple(sweep_problems(question))
        or tuple(_field_problems(question))
        or tuple(duplicate_problems(question))
        or tuple(published_rule_problems(question))
        or tuple(limit_problems(question))
    )


def _field_problems(question: Question) -> Iterator[Problem]:
    """Problems of single fields, and of fields that do not fit together."""
    yield from section_problems(question)
    yield from search_problems(question)
    horizon = question.horizon
    if horizon.stop_below_loss is not None:
        message = "would end all runs at the same loss; leave it out"
        yield Problem("horizon.stop_below_loss", message, horizon.stop_below_loss)
    if horizon.sustained_evaluations is not None:
        message = "applies to tables, not to text; leave it out, together with stop_when_sustained"
        yield Problem("horizon.sustained_evaluations", message, horizon.sustained_evaluations)
    yield from _optimizer_problems(question)
    yield from _schedule_problems(question)
    for problem in convention_problems(question.parametrisation, question.optimizer_options):
        yield under("optimizer_options", problem)


def _optimizer_problems(question: Question) -> Iterator[Problem]:
    names = question.optimizers
    if not names:
        yield Problem("optimizer", "is an empty list; name muon, adamw, or both", [])
    if len(set(names)) < len(names):
        yield Problem("optimizer", "names an optimizer twice; name each once", list(names))
    if question.search.adamw_lr_ratio is not None and "muon" not in names:
        message = "has no meaning without muon; leave it out or add muon to optimizer"
        yield Problem("search.adamw_lr_ratio", message)


def _schedule_problems(question: Question) -> Iterator[Problem]:
    if question.schedule == "robust" and question.seeds > 1:
        message = "schedule: robust adds seeds itself; set seeds to 1, or use schedule: paper"
        yield Problem("seeds", message, question.seeds)
    if question.schedule == "paper" and (cap := question.limits.max_base_runs) is not None:
        remedy = "leave it out, or set limits.max_trials or limits.max_flops"
        message = "applies only to schedule: robust, since schedule: paper follows no budget"
        yield Problem("limits.max_base_runs", f"{message}; {remedy}", cap)
