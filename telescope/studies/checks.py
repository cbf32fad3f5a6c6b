"""What is wrong with a well-typed telescoping document? Each problem names its field, its value and a remedy."""

import math

from telescope.errors import InvalidInput, Problem
from telescope.spec import OCTAVE_PARTS, batch_problem, width_problem
from telescope.studies import paper, robust
from telescope.studies.question import LadderModel, Range
from telescope.studies.telescoping import Telescope

SMALLEST, LARGEST = 1e-9, 1e9  # of a swept value


def checked(study: Telescope) -> Telescope:
    """The study, or InvalidInput with everything that is wrong with it."""
    found = problems(study)
    if found:
        raise InvalidInput.because(found)
    return study


def problems(study: Telescope) -> tuple[Problem, ...]:
    """What is wrong with a well-typed document: each with its field, value and remedy."""
    found = [*_model_problems(study.model), *_search_problems(study)]
    batch = batch_problem(study.data, study.horizon)
    if batch:
        name = batch.split()[0]
        found.append(Problem(f"horizon.{name}", batch, getattr(study.horizon, name)))
    names = study.optimizers
    if not names:
        found.append(Problem("optimizer", "an empty list; name muon, adamw, or both", []))
    if len(set(names)) < len(names):
        found.append(Problem("optimizer", "names an optimizer twice; name each once", list(names)))
    if study.search.adamw_lr_ratio is not None and "muon" not in names:
        found.append(Problem("search.adamw_lr_ratio", "has no meaning without muon; leave it out or add muon to optimizer"))
    if study.schedule == "robust" and study.seeds > 1:
        found.append(Problem("seeds", "robust buys seeds itself; leave it at 1, or use schedule: paper", study.seeds))
    cap, convention = study.limits.max_base_runs, study.optimizer_options.lr_convention
    if study.schedule == "paper" and cap is not None:
        message = "is robust's budget, and paper's grids have a known size; leave it out, or set limits.max_trials or limits.max_flops"
        found.append(Problem("limits.max_base_runs", message, cap))
    if convention == "absolute" and study.parametrisation != "mup-paper":
        message = f"has no meaning under {study.parametrisation}; leave it out, or use parametrisation: mup-paper"
        found.append(Problem("optimizer_options.lr_convention", message, convention))
    return tuple(found) or tuple(_budget_problems(study))


def _model_problems(model: LadderModel) -> list[Problem]:
    found = []
    for name in ("base_width", "calibration_width", "target_width"):
        problem = width_problem(model, getattr(model, name))
        if problem:
            found.append(Problem(f"model.{name}", problem, getattr(model, name)))
    base, calibration, target = model.base_width, model.calibration_width, model.target_width
    near = base * 2 ** max(0, round(math.log2(calibration / base)))
    if calibration != near:
        message = f"must be base_width {base} doubled some whole number of times; use {near}"
        found.append(Problem("model.calibration_width", message, calibration))
    if target < calibration:
        message = f"is below calibration_width {calibration}; use at least that, or calibrate on narrower models"
        found.append(Problem("model.target_width", message, target))
    return found


def _search_problems(study: Telescope) -> list[Problem]:
    found = []
    for name in ("lr", "weight_decay", "adamw_lr_ratio"):
        swept = getattr(study.search, name)
        if not isinstance(swept, Range):
            continue
        halvings = len(study.model.widths) if study.schedule == "paper" else 1
        if swept.low >= swept.high:
            message = f"low {swept.low:g} is not below high {swept.high:g}; swap them, or give a plain number to hold it fixed"
            found.append(Problem(f"search.{name}.low", message, swept.low))
        elif swept.low < SMALLEST or swept.high > LARGEST:
            end, value = ("low", swept.low) if swept.low < SMALLEST else ("high", swept.high)
            message = f"no hyperparameter lies beyond {SMALLEST:g} to {LARGEST:g}; choose a narrower range"
            found.append(Problem(f"search.{name}.{end}", message, value))
        elif math.log2(swept.high / swept.low) < max(swept.points - 1, 1) * 2**halvings / OCTAVE_PARTS:
            message = f"{swept.points} points between {swept.low:g} and {swept.high:g} lie too close; widen the range or take fewer"
            found.append(Problem(f"search.{name}.points", message, swept.points))
    if study.schedule == "robust" and study.search.lr.points < 4:
        found.append(Problem("search.lr.points", "robust needs at least 4 to fit a bowl; use 8", study.search.lr.points))
    return found


def _budget_problems(study: Telescope) -> list[Problem]:
    share = len(study.optimizers)
    for ladder in study.ladders():
        runs = robust.base_runs(ladder) if study.schedule == "robust" else paper.runs(ladder, 0, study.paper.points)
        if runs > study.limits.max_trials // share:
            each = f" for each of {share} ladders" if share > 1 else ""
            message = f"the base grid alone has {runs} runs{each}; raise it to {runs * share} or more, or sweep fewer points"
            return [Problem("limits.max_trials", message, study.limits.max_trials)]
        if runs > ladder.max_base_runs:
            message = f"the base grid alone has {runs} runs; raise it above that, or sweep fewer points"
            return [Problem("limits.max_base_runs", message, study.limits.max_base_runs)]
    return []
