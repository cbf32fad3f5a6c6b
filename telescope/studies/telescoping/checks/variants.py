"""Problems of the variants (`sweep_over`): the architectures or texts that a job compares."""

import re
from collections.abc import Iterator

from telescope.errors import Problem
from telescope.studies.telescoping.fold.specs import trial_spec
from telescope.studies.telescoping.question.question import Question
from telescope.studies.telescoping.question.variants import variants

NAME = re.compile(r"(?! )[\w .+-]{1,40}(?<! )")  # pattern of a variant's name
# fields of the model that must be the same for all variants
SHARED_FIELDS = ("base_width", "calibration_width", "target_width", "target_depth")


def sweep_problems(question: Question) -> Iterator[Problem]:
    """Problems of the section `sweep_over`: what it varies, and its names and SHARED_FIELDS."""
    sweep = question.sweep_over
    if sweep is None:
        return
    if sweep.model is not None and sweep.data is not None:
        message = "varies model and data at once; keep one of them; for both, submit two jobs"
        yield Problem("sweep_over", message)
        return
    if sweep.model is None and sweep.data is None:
        yield Problem("sweep_over", "varies nothing; name two models or data sets, or leave it out")
        return
    field = f"sweep_over.{sweep.section}"
    yield from _name_problems(field, [entry.name for entry in sweep.entries])
    for i, entry in enumerate(sweep.model or ()):
        for name in SHARED_FIELDS:
            value = getattr(entry.model, name, None)
            if value != getattr(question.model, name, None):
                reason = "must be the same for all variants, which are compared width by width"
                message = f"{reason}; change it here or in model, or submit another job"
                yield Problem(f"{field}.{i}.{name}", message, value)


def _name_problems(field: str, names: list[str]) -> Iterator[Problem]:
    if len(names) < 2:
        message = "names fewer than two variants; add another, or leave sweep_over out"
        yield Problem(field, message, names)
    for i, name in enumerate(names):
        if not NAME.fullmatch(name):
            characters = "1 to 40 letters, digits, spaces or any of _.+-"
            message = f"must be {characters}, with no space at either end"
            yield Problem(f"{field}.{i}.name", message, name)
        if name in names[:i]:
            message = "is the name of another variant; give each its own name"
            yield Problem(f"{field}.{i}.name", message, name)


def duplicate_problems(question: Question) -> Iterator[Problem]:
    """Problems of variants that would train the same runs as an earlier variant. Two variants are
    compared by one run at the base width.
    """
    if question.sweep_over is None:
        return
    first_names: dict[str, str] = {}  # digest of a run -> name of the first variant with this run
    for i, variant in enumerate(variants(question)):
        digest = trial_spec(
            variant.question,
            question.optimizers[0],
            question.model.base_width,
            {"lr": 1.0, "weight_decay": 0.0},
        ).digest
        if digest in first_names:
            message = f"{variant.name} is the same as {first_names[digest]}"
            yield Problem(
                f"sweep_over.{question.sweep_over.section}.{i}",
                f"{message}; change a field of {variant.name}, or leave {variant.name} out",
            )
        first_names.setdefault(digest, variant.name)
