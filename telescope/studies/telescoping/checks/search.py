"""Checks of the ranges to sweep, and of the limits on the number of runs.

A *ladder* is the search of one optimizer over growing widths. It starts with the *base grid*, a set
of runs at the narrowest width.
"""

from telescope.errors import Problem, under
from telescope.studies.ranges import Range
from telescope.studies.telescoping.axes import MOST_FITTED, SCALES, AxisName
from telescope.studies.telescoping.fold.ladders import all_ladders
from telescope.studies.telescoping.question.question import Question, ranges
from telescope.studies.telescoping.schedules import robust, windows
from telescope.trials.lattice import OCTAVE_PARTS

SMALLEST, LARGEST = 1e-9, 1e9  # least and greatest value of a swept hyperparameter
# least and greatest value of the hyperparameters whose limits are narrower
LIMITS: dict[AxisName, tuple[float, float]] = {
    "momentum": (0.001, SCALES["momentum"].value(-16)),
    "warmup_fraction": (SMALLEST, 1.0),
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
    """The problem of a range, with the field `low`, `high` or `points`. None if there is none."""
    lowest, highest = LIMITS.get(name, (SMALLEST, LARGEST))
    if swept.low >= swept.high:
        remedy = "swap them" if swept.low > swept.high else "lower low or raise high"
        if name != "lr":  # lr is always swept
            fix = "give a plain number" if name == "weight_decay" else "leave the range out"
            remedy += f", or {fix} to hold {name} fixed"
        order = f"low {swept.low:g} is not below high {swept.high:g}"
        return Problem("low", f"{order}; {remedy}", swept.low)
    if swept.low < lowest or swept.high > highest:
        end, value = ("low", swept.low) if swept.low < lowest else ("high", swept.high)
        subject = "hyperparameter" if (lowest, highest) == (SMALLEST, LARGEST) else name
        limits = f"{lowest:.6g} to {highest:.6g}"
        message = f"the {subject} must lie within {limits}; choose a range within these limits"
        return Problem(end, message, value)
    steps_halve = question.schedule == "paper" and question.paper.sampler in ("auto", "grid")
    octaves = abs(SCALES[name].octaves(swept.high) - SCALES[name].octaves(swept.low))
    # planned values are rounded to multiples of 1 / OCTAVE_PARTS octave, and neighbouring points
    # must stay distinct at every width; under `schedule: paper`, the distance between neighbouring
    # points may be halved from each width to the next
    refinements = len(question.model.widths) if steps_halve else 1
    least = 2**refinements / OCTAVE_PARTS  # between neighbouring points
    if octaves < max(swept.points - 1, 1) * least:
        points = f"{swept.points} points between {swept.low:g} and {swept.high:g}"
        fewer = ", or use fewer points" if octaves >= least else ""
        message = f"{points} are too close together; widen the range{fewer}"
        return Problem("points", message, swept.points)
    return None


def limit_problems(question: Question) -> list[Problem]:
    """A list of the first problem found in `limits` or `paper.trials`; empty if there is none. The
    base grid of each ladder must fit into the ladder's share of `max_trials` and into
    `max_base_runs`. If a sampler chooses the points of a level (a width), they must fit into the
    level's window, which is the range of each hyperparameter that is searched there.
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
