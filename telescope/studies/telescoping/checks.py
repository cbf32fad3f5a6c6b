"""Checks of a well-typed telescoping document. Each problem names its field, value and remedy."""

import math
import re
from collections.abc import Iterator
from dataclasses import fields, replace

from telescope.errors import InvalidInput, Problem, under
from telescope.studies.ranges import Range
from telescope.studies.telescoping.axes import MOST_FITTED, SCALES, AxisName
from telescope.studies.telescoping.fold.ladders import all_ladders
from telescope.studies.telescoping.fold.specs import trial_spec
from telescope.studies.telescoping.question import pairing
from telescope.studies.telescoping.question.models import AnyLadder
from telescope.studies.telescoping.question.question import Question, ranges
from telescope.studies.telescoping.question.variants import variants
from telescope.studies.telescoping.schedules import robust, windows
from telescope.trials.horizon import batch_problem
from telescope.trials.lattice import OCTAVE_PARTS
from telescope.trials.optimizer import clip_problems
from telescope.trials.types import Parametrisation

SMALLEST, LARGEST = 1e-9, 1e9  # of a swept value
NAME = re.compile(r"(?! )[\w .+-]{1,40}(?<! )")  # of a variant
# in which variants may not differ
WIDTHS = ("base_width", "calibration_width", "target_width", "target_depth")
LIMITS: dict[AxisName, tuple[float, float]] = {
    "momentum": (0.001, SCALES["momentum"].value(-16)),
    "warmup_fraction": (SMALLEST, 1.0),
}


def checked(question: Question) -> Question:
    """The question itself. Raises InvalidInput with all its problems."""
    found = problems(question)
    if found:
        raise InvalidInput.because(found)
    return question


def problems(question: Question) -> tuple[Problem, ...]:
    """The problems of a well-typed document, each with its field, value and remedy."""
    if amiss := tuple(_sweep_problems(question)):
        return amiss
    found = [*_block_problems(question), *_search_problems(question)]
    if (stop := question.horizon.stop_below_loss) is not None:
        found.append(
            Problem(
                "horizon.stop_below_loss", "would end all runs at the same loss; leave it out", stop
            )
        )
    names = question.optimizers
    if not names:
        found.append(Problem("optimizer", "an empty list; name muon, adamw, or both", []))
    if len(set(names)) < len(names):
        found.append(Problem("optimizer", "names an optimizer twice; name each once", list(names)))
    if question.search.adamw_lr_ratio is not None and "muon" not in names:
        found.append(
            Problem(
                "search.adamw_lr_ratio",
                "has no meaning without muon; leave it out or add muon to optimizer",
            )
        )
    if question.schedule == "robust" and question.seeds > 1:
        found.append(
            Problem(
                "seeds",
                "robust adds seeds itself; leave it at 1, or use schedule: paper",
                question.seeds,
            )
        )
    cap, convention = question.limits.max_base_runs, question.optimizer_options.lr_convention
    if question.schedule == "paper" and cap is not None:
        remedy = "leave it out, or set limits.max_trials or limits.max_flops"
        message = (
            f"is the budget of schedule: robust, and paper's grids have a fixed size; {remedy}"
        )
        found.append(Problem("limits.max_base_runs", message, cap))
    if convention == "absolute" and question.parametrisation != "mup-paper":
        message = f"has no meaning under {question.parametrisation}; leave it out, or use parametrisation: mup-paper"
        found.append(Problem("optimizer_options.lr_convention", message, convention))
    return (
        tuple(found)
        or tuple(_twins(question))
        or tuple(_paper_problems(question))
        or tuple(_budget_problems(question))
    )


def _sweep_problems(question: Question) -> Iterator[Problem]:
    """Problems of variants that cannot be told apart or compared."""
    sweep = question.sweep_over
    if sweep is None:
        return
    if (sweep.model is None) is (sweep.data is None):
        both = sweep.model is not None
        remedy = (
            "keep one; for both, submit two jobs" if both else "name two or more, or leave it out"
        )
        what = "model and data at once" if both else "nothing"
        yield Problem("sweep_over", f"varies {what}; {remedy}")
        return
    field, names = f"sweep_over.{sweep.block}", [one.name for one in sweep.entries]
    if len(names) < 2:
        yield Problem(
            field, "names fewer than two variants; add another, or leave sweep_over out", names
        )
    for i, name in enumerate(names):
        if not NAME.fullmatch(name):
            yield Problem(
                f"{field}.{i}.name",
                (
                    "must be 1 to 40 letters, digits, spaces or any of _.+-, with no space at either end"
                ),
                name,
            )
        if name in names[:i]:
            yield Problem(
                f"{field}.{i}.name", "is the name of another variant; give each its own name", name
            )
    for i, one in enumerate(sweep.model or ()):
        for width in WIDTHS:
            if (value := getattr(one.model, width, None)) != getattr(question.model, width, None):
                remedy = "variants are compared width by width; leave it out, or submit another job"
                yield Problem(f"{field}.{i}.{width}", f"must be the same for all: {remedy}", value)


def _twins(question: Question) -> Iterator[Problem]:
    """Problems of variants whose runs are the same."""
    seen: dict[str, str] = {}
    if question.sweep_over is None:
        return
    for i, variant in enumerate(variants(question)):
        own = trial_spec(
            variant.question,
            question.optimizers[0],
            question.model.base_width,
            {"lr": 1.0, "weight_decay": 0.0},
        ).digest
        if own in seen:
            yield Problem(
                f"sweep_over.{question.sweep_over.block}.{i}",
                f"{variant.name} is the same as {seen[own]}; change a field, or leave it out",
            )
        seen.setdefault(own, variant.name)


def _block_problems(question: Question) -> list[Problem]:
    """Problems of the model and the data, and of the fields in which variants differ."""
    found = [
        *_model_problems(question.model, question.parametrisation),
        *_batch_problems(question),
        *_clip_problems(question),
        *pairing.pairing_problems(question),
    ]
    if question.sweep_over is None:
        return found
    part, more = question.sweep_over.block, list[Problem]()
    for i, variant in enumerate(variants(question)):
        field = f"sweep_over.{part}.{i}"
        for one in _block_problems(variant.question):
            if one not in found:
                more.append(
                    one.moved(part, field) if one.within(part) else replace(one, field=field)
                )
    return found + more


def _batch_problems(question: Question) -> list[Problem]:
    problem = batch_problem(question.data, question.horizon)
    return [under("horizon", problem)] if problem else []


def _clip_problems(question: Question) -> list[Problem]:
    options = question.optimizer_options
    if (attention := question.model.known_attention()) is not None:
        return [
            under("optimizer_options", problem) for problem in clip_problems(attention, options)
        ]
    named = "qk_clip" if options.qk_clip is not None else "measure_max_logit"
    message = "telescope cannot see the attention logits of a user's model; leave it out"
    return (
        [Problem(f"optimizer_options.{named}", message, getattr(options, named))]
        if options.watches_logits
        else []
    )


def _model_problems(model: AnyLadder, parametrisation: Parametrisation) -> list[Problem]:
    try:
        found = list(model.problems())
    except InvalidInput as error:  # at any width
        return list(error.problems)
    for name in ("base_width", "calibration_width", "target_width"):
        width = getattr(model, name)
        if problem := model.width_problem(width, parametrisation):
            found.append(Problem(f"model.{name}", problem, width))
    base, calibration, target = model.base_width, model.calibration_width, model.target_width
    near = base * 2 ** max(0, round(math.log2(calibration / base)))
    if calibration != near:
        message = f"must be base_width {base} times a power of two; use {near}"
        found.append(Problem("model.calibration_width", message, calibration))
    if target < calibration:
        message = f"is below calibration_width {calibration}; raise it, or lower calibration_width"
        found.append(Problem("model.target_width", message, target))
    return found


def _search_problems(question: Question) -> list[Problem]:
    found = []
    swept = {
        name: value for name in SCALES if isinstance(value := getattr(question.search, name), Range)
    }
    for name, one in swept.items():
        if problem := _range_problem(question, name, one):
            found.append(under(f"search.{name}", problem))
    for optimizer in question.optimizers:
        fitted = [name for name, one in ranges(question, optimizer).items() if one.points > 2]
        if len(fitted) > MOST_FITTED:
            count = f"{len(fitted)} hyperparameters with 3 or more points"
            message = f"sweeps {count} for {optimizer}, and at most {MOST_FITTED} are supported"
            less = "" if question.schedule == "paper" else ", or give it 2 points"
            remedy = f"fix the least important, such as {fitted[-1]}, by leaving it out{less}"
            found.append(Problem("search", f"{message}; {remedy}", fitted))
            break
    if question.schedule == "robust" and question.search.lr.points < 4:
        found.append(
            Problem(
                "search.lr.points",
                "robust needs at least 4 to fit a bowl; use 8",
                question.search.lr.points,
            )
        )
    return found


def _range_problem(question: Question, name: AxisName, swept: Range) -> Problem | None:
    """The problem of a range, with the end at fault as its field; None without one."""
    lowest, highest = LIMITS.get(name, (SMALLEST, LARGEST))
    if swept.low >= swept.high:
        remedy = (
            "give a plain number to hold it fixed"
            if name in ("lr", "weight_decay")
            else "leave it out to hold it fixed"
        )
        order = f"low {swept.low:g} is not below high {swept.high:g}"
        return Problem("low", f"{order}; swap them, or {remedy}", swept.low)
    if swept.low < lowest or swept.high > highest:
        end, value = ("low", swept.low) if swept.low < lowest else ("high", swept.high)
        what = "hyperparameter" if (lowest, highest) == (SMALLEST, LARGEST) else name
        limits = f"{lowest:.6g} to {highest:.6g}"
        return Problem(end, f"the {what} must lie within {limits}; choose a narrower range", value)
    halved = question.schedule == "paper" and question.paper.sampler in ("auto", "grid")
    span = abs(SCALES[name].octaves(swept.high) - SCALES[name].octaves(swept.low))
    if (
        span
        < max(swept.points - 1, 1)
        * 2 ** (len(question.model.widths) if halved else 1)
        / OCTAVE_PARTS
    ):
        points = f"{swept.points} points between {swept.low:g} and {swept.high:g}"
        message = f"{points} are too close together; widen the range, or use fewer points"
        return Problem("points", message, swept.points)
    return None


def _paper_problems(question: Question) -> list[Problem]:
    """Problems of options of the published rule that contradict each other, or the schedule."""
    options, found = question.paper, []
    if question.schedule != "paper":
        named = [f.name for f in fields(options) if getattr(options, f.name) != f.default]
        return [
            Problem(
                f"paper.{name}", "has no meaning under robust; leave it out, or use schedule: paper"
            )
            for name in named
        ]
    if options.rounding is not None and options.points != "strict":
        message = f"points: {options.points} always rounds up to odd numbers; leave it out, or use points: strict"
        found.append(Problem("paper.rounding", message, options.rounding))
    if options.floor != 3 and options.points != "odd_floor":
        found.append(
            Problem(
                "paper.floor",
                "applies to points: odd_floor only; leave it out, or use points: odd_floor",
                options.floor,
            )
        )
    sampled = [not windows.is_grid(ladder, options) for ladder in all_ladders(question)]
    found += _too_few_to_sample(question)
    if options.trials is not None and not all(sampled):
        message = "applies to a sampler only; leave it out, or use sampler: qmc, gp or tpe"
        found.append(Problem("paper.trials", message, options.trials))
    if options.edge != "ignore" and any(sampled):
        message = "needs the borders of a grid, which a sampler lacks; use ignore, or sampler: grid"
        found.append(Problem("paper.edge", message, options.edge))
    return found


def _too_few_to_sample(question: Question) -> list[Problem]:
    """Problems of axes with two points under a sampler: it would scatter values that no fit
    follows, so that few runs could be compared.
    """
    few = {
        axis.name
        for ladder in all_ladders(question)
        if not windows.is_grid(ladder, question.paper)
        for axis in ladder.axes
        if axis.points == 2
    }
    remedy = "use 3 or more, or paper.sampler: grid"
    message = f"2 points are compared on a grid, but a sampler scatters values; {remedy}"
    return [Problem(f"search.{name}.points", message, 2) for name in sorted(few)]


def _budget_problems(question: Question) -> list[Problem]:
    share = len(all_ladders(question))
    for ladder in all_ladders(question):
        if question.schedule == "paper" and (crowded := windows.crowded(ladder, question.paper)):
            message = f"{crowded} points do not fit into the last windows; use fewer, widen the ranges, or lower calibration_width"
            return [Problem("paper.trials", message, question.paper.trials)]
        runs = (
            robust.base_runs(ladder)
            if question.schedule == "robust"
            else windows.runs(ladder, 0, question.paper)
        )
        if runs > question.limits.max_trials // share:
            each = f" for each of {share} ladders" if share > 1 else ""
            remedy = f"raise it to {runs * share} or more, or sweep fewer points"
            message = f"the base grid alone has {runs} runs{each}; {remedy}"
            return [Problem("limits.max_trials", message, question.limits.max_trials)]
        if runs > ladder.max_base_runs:
            message = (
                f"the base grid alone has {runs} runs; raise it above that, or sweep fewer points"
            )
            return [Problem("limits.max_base_runs", message, question.limits.max_base_runs)]
    return []
