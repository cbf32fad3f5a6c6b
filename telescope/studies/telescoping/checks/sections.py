"""Problems of the document's sections `model`, `data`, `horizon` and `optimizer_options`.

A *variant* is one of the architectures or texts that a job compares. It replaces one of these
sections, so the sections are checked for each variant too.
"""

import math
from dataclasses import replace

from telescope.errors import InvalidInput, Problem, under
from telescope.studies.telescoping.question import pairing
from telescope.studies.telescoping.question.models import AnyLadderModel
from telescope.studies.telescoping.question.question import Question
from telescope.studies.telescoping.question.variants import variants
from telescope.trials.horizon import batch_problem
from telescope.trials.optimizer import clip_problems
from telescope.trials.types import Parametrisation


def section_problems(question: Question) -> list[Problem]:
    """Problems of the four sections, for the job and for its variants. If a variant has a problem
    that the job does not have, the problem's field is the variant's entry in `sweep_over`, or a
    field of this entry.
    """
    problems = [
        *_model_problems(question.model, question.parametrisation),
        *_batch_problems(question),
        *_clip_problems(question),
        *pairing.pairing_problems(question),
    ]
    if question.sweep_over is None:
        return problems
    section, own = question.sweep_over.section, list[Problem]()
    for i, variant in enumerate(variants(question)):
        entry = f"sweep_over.{section}.{i}"
        for problem in section_problems(variant.question):
            if problem not in problems:
                inside = problem.within(section)
                moved = problem.moved(section, entry)
                own.append(moved if inside else replace(problem, field=entry))
    return problems + own


def _batch_problems(question: Question) -> list[Problem]:
    problem = batch_problem(question.data, question.horizon)
    return [under("horizon", problem)] if problem else []


def _clip_problems(question: Question) -> list[Problem]:
    problems = clip_problems(question.model.known_attention(), question.optimizer_options)
    return [under("optimizer_options", problem) for problem in problems]


def _model_problems(model: AnyLadderModel, parametrisation: Parametrisation) -> list[Problem]:
    try:
        problems = list(model.problems())
    except InvalidInput as error:  # widths can only be checked for a module that can be read
        return list(error.problems)
    for name in ("base_width", "calibration_width", "target_width"):
        width = getattr(model, name)
        if message := model.width_problem(width, parametrisation):
            problems.append(Problem(f"model.{name}", message, width))
    base, calibration, target = model.base_width, model.calibration_width, model.target_width
    doublings = math.log2(calibration / base)
    # base_width times the nearest power of two; if the result is above the target width, the next
    # lower power of two; the power is at least 1
    nearest = base * 2 ** max(0, round(doublings))
    if nearest > target:
        nearest = base * 2 ** max(0, math.floor(doublings))
    if calibration != nearest:
        message = f"must be base_width {base} times a power of two; use {nearest}"
        problems.append(Problem("model.calibration_width", message, calibration))
    if target < calibration:
        message = f"is below calibration_width {calibration}; raise it, or lower calibration_width"
        problems.append(Problem("model.target_width", message, target))
    return problems
