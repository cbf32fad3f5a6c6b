"""Checks of the ranges to sweep, and of the limits on the number of runs.

A *ladder* is the search of one optimizer over growing widths. It starts with the *base grid*, a set
of runs at the narrowest width.
"""

from telescope.errors import Problem, under
from telescope.studies.ranges import LEAST_SPACING, WIDEST, Range, ends_problem, spacing_problem
from telescope.studies.telescoping.axes import MOST_FITTED, SCALES, AxisName
from telescope.studies.telescoping.fold.ladders import all_ladders
from telescope.studies.telescoping.question.question import Question, ranges
from telescope.studies.telescoping.schedules import robust, windows

# lowest and highest value of the hyperparameters whose limits are narrower than WIDEST
LIMITS: dict[AxisName, tuple[float, float]] = {
    "momentum": (0.001, SCALES["momentum"].value(-16)),
    "warmup_fraction": (WIDEST[0], 1.0),
}


def search_problems(question: Question) -> list[Problem]:
    """Problems of the document's section `search`."""
    problems = []
    for name in SCALES:
        swept = getattr(question.search, name)
        if isinstance(swept, Range) and (problem := _range_problem(question, name, swept)):
            problems.append(under(f"search.{name}", problem))
    for optimizer in question.optimizers:
        swept_ranges = ranges(question, optimizer)
        fitted = [name for name, swept in swept_ranges.items() if swept.points > 2]
        if len(fitted) > MOST_FITTED:
            count = f"{len(fitted)} hyperparameters with 3 or more points"
            message = f"sweeps {count} for {optimizer}, and at most {MOST_FITTED} are supported"
            fewer = "" if question.schedule == "paper" else ", or give it 2 points"
            remedy = f"fix the least important, such as {fitted[-1]}, by leaving it out{fewer}"
            problems.append(Problem("search", f"{message}; {remedy}", fitted))
            break
    if question.schedule == "robust" and question.search.lr.points < 4:
        message = "schedule: robust needs at least 4 points to fit a curve; use 8"
        problems.append(Problem("search.lr.points", message, question.search.lr.points))
    return problems


def _range_problem(question: Question, name: AxisName, swept: Range) -> Problem | None:
    """The problem of a range, with the field `low`, `high` or `points`. None if the range has no
    problem.
    """
    fix = "give a plain number" if name == "weight_decay" else "leave the range out"
    # lr is always swept
    alternative = "" if name == "lr" else f", or {fix} to hold {name} fixed"
    problem = ends_problem(swept, name, alternative, LIMITS.get(name, WIDEST))
    if problem:
        return problem
    steps_halve = question.schedule == "paper" and question.paper.sampler in ("auto", "grid")
    octaves = abs(SCALES[name].octaves(swept.high) - SCALES[name].octaves(swept.low))
    # under `schedule: paper`, the distance between neighbouring points may be halved from each
    # width to the next, and the points must stay distinct at every width
    halvings = len(question.model.widths) - 1 if steps_halve else 0
    return spacing_problem(swept, octaves, fewest=1, least=2**halvings * LEAST_SPACING)


def limit_problems(question: Question) -> list[Problem]:
    """The first problem found in `paper.trials` or `limits`, as a list with at most one entry.

    If a sampler chooses the points of a width, they must fit into the *window*: the range of each
    hyperparameter that is searched at this width. The base grid of a ladder must fit into the
    ladder's share of `max_trials`, and into `max_base_runs`.
    """
    ladders = all_ladders(question)
    for ladder in ladders:
        if question.schedule == "paper" and (crowded := windows.crowded(ladder, question.paper)):
            message = f"{crowded} points do not fit into the windows of the widest levels"
            remedy = "use fewer, widen the ranges, or lower calibration_width"
            return [Problem("paper.trials", f"{message}; {remedy}", question.paper.trials)]
    grids = [
        robust.base_runs(ladder)
        if question.schedule == "robust"
        else windows.runs(ladder, 0, question.paper)
        for ladder in ladders
    ]
    runs = max(grids)
    grid = f"the base grid alone has {runs} runs"
    if runs > question.limits.max_trials // len(ladders):
        share = f" for each of {len(ladders)} ladders" if len(ladders) > 1 else ""
        remedy = f"raise it to {runs * len(ladders)} or more, or sweep fewer points"
        message = f"{grid}{share}; {remedy}"
        return [Problem("limits.max_trials", message, question.limits.max_trials)]
    if any(count > ladder.max_base_runs for count, ladder in zip(grids, ladders, strict=True)):
        message = f"{grid}; raise it above {runs}, or sweep fewer points"
        return [Problem("limits.max_base_runs", message, question.limits.max_base_runs)]
    return []
