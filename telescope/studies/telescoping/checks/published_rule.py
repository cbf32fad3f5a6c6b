"""Problems of the options of the published rule (`schedule: paper`).

The rule searches a *window*, a range of each hyperparameter, at each width. It fills the window
with a grid of points, or with scattered points that a *sampler* chooses.
"""

from dataclasses import fields

from telescope.errors import Problem
from telescope.studies.telescoping.fold.ladders import all_ladders
from telescope.studies.telescoping.question.parts import PaperOptions
from telescope.studies.telescoping.question.question import Question
from telescope.studies.telescoping.schedules import windows


def published_rule_problems(question: Question) -> list[Problem]:
    """Problems of options that do not fit the schedule, the other options or the swept ranges."""
    options = question.paper
    if question.schedule != "paper":
        message = "has no meaning under schedule: robust; leave it out, or use schedule: paper"
        changed = [f.name for f in fields(options) if getattr(options, f.name) != f.default]
        return [Problem(f"paper.{name}", message) for name in changed]
    problems = [*_rounding_problems(options), *_two_point_problems(question)]
    sampled = [not windows.is_grid(ladder, options) for ladder in all_ladders(question)]
    if options.trials is not None and not all(sampled):
        message = "applies to a sampler only; leave it out, or use sampler: qmc, gp or tpe"
        problems.append(Problem("paper.trials", message, options.trials))
    if options.edge != "ignore" and any(sampled):
        message = (
            "needs the borders of a grid, which a sampler lacks; use edge: ignore, or sampler: grid"
        )
        problems.append(Problem("paper.edge", message, options.edge))
    return problems


def _rounding_problems(options: PaperOptions) -> list[Problem]:
    problems = []
    if options.rounding is not None and options.points != "strict":
        message = "applies to points: strict only; leave it out, or use points: strict"
        problems.append(Problem("paper.rounding", message, options.rounding))
    if options.floor != 3 and options.points != "odd_floor":
        message = "applies to points: odd_floor only; leave it out, or use points: odd_floor"
        problems.append(Problem("paper.floor", message, options.floor))
    return problems


def _two_point_problems(question: Question) -> list[Problem]:
    """Problems of hyperparameters with two points under a sampler.

    No curve is fitted along a hyperparameter with two points; instead, the runs at its two values
    are compared. A sampler scatters the values, so there would be no such two groups of runs.
    """
    names = {
        axis.name
        for ladder in all_ladders(question)
        if not windows.is_grid(ladder, question.paper)
        for axis in ladder.axes
        if axis.points == 2
    }
    remedy = "use 3 points or more, or use paper.sampler: grid"
    message = f"2 points can be compared on a grid only, not under a sampler; {remedy}"
    return [Problem(f"search.{name}.points", message, 2) for name in sorted(names)]
