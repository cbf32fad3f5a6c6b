"""Checks of a compute-time document whose fields all have the right type. Each problem names a
field and a remedy."""

from collections.abc import Iterator

from telescope.errors import Problem, under
from telescope.studies.compute_time.bill import most_trials, trials_upper_bound
from telescope.studies.compute_time.question import MOST_TRIALS, Question, Tuning
from telescope.studies.compute_time.runs import steps_of
from telescope.studies.compute_time.tuning import weight_decays_to_compare
from telescope.studies.ranges import Range, ends_problem, octaves_of, spacing_problem
from telescope.trials.architecture import architecture_problems, width_problem
from telescope.trials.horizon import HorizonSpec, batch_problem
from telescope.trials.optimizer import clip_problems, convention_problems

FEWEST_STEPS = 20  # steps of the largest batch that `runs.tokens` and `tuning.tokens` must allow
MOST_BATCHES = 64
MOST_STEPS = 2**31 - 1  # most steps of a run


def problems(question: Question) -> tuple[Problem, ...]:
    """The `field_problems` of a question. If there are none, its `budget_problems`."""
    return tuple(field_problems(question)) or tuple(budget_problems(question))


def field_problems(question: Question) -> Iterator[Problem]:
    """Problems of single fields, and of fields that do not fit together."""
    names = question.optimizers
    if not names:
        yield Problem("optimizer", "is an empty list; name muon, adamw, or both", [])
    if len(set(names)) < len(names):
        yield Problem("optimizer", "names an optimizer twice; name each once", list(names))
    for name in ("width", "base_width"):
        width = getattr(question.model, name)
        if width is not None and (message := width_problem(question.model, width)):
            yield Problem(f"model.{name}", message, width)
    yield from batch_problems(question)
    yield from source_problems(question)
    for i, loss in enumerate(question.target_losses):
        if loss in question.target_losses[:i]:
            yield Problem(f"target_losses.{i}", "is named twice; name each loss once", loss)
    runs = question.runs
    if runs.warmup_tokens is not None and runs.warmup_tokens > runs.tokens / 2:
        message = f"is more than half of runs.tokens, {runs.tokens}; use a twentieth of runs.tokens"
        yield Problem("runs.warmup_tokens", message, runs.warmup_tokens)
    for problem in architecture_problems(question.model):
        yield under("model", problem)
    attention = question.model.known_attention()
    for problem in clip_problems(attention, question.optimizer_options):
        yield under("optimizer_options", problem)
    for problem in convention_problems(question.parametrisation, question.optimizer_options):
        yield under("optimizer_options", problem)


def batch_problems(question: Question) -> Iterator[Problem]:
    """Problems of batch sizes, micro-batches, and the number of steps at the largest batch."""
    if not question.batches:
        message = "names no batch; list some, or give low and high, with high at least low"
        yield Problem("batch_tokens", message)
        return
    if len(question.batches) > MOST_BATCHES:
        message = f"names {len(question.batches)} batches, more than {MOST_BATCHES}; use fewer"
        yield Problem("batch_tokens", message, len(question.batches))
    if len(set(question.batches)) < len(question.batches):
        yield Problem("batch_tokens", "names a batch twice; name each once", list(question.batches))
    for batch in question.batches:
        micro = question.runs.micro_batch_tokens
        if problem := batch_problem(question.data, HorizonSpec(steps=1, batch_tokens=batch)):
            yield problem
        elif micro is not None and micro < batch:
            yield from micro_problems(question, micro, batch)
    run_tokens = question.runs.tokens
    tuning_tokens = (question.tuning and question.tuning.tokens) or run_tokens
    shortest, least = min(run_tokens, tuning_tokens), FEWEST_STEPS * question.batches[-1]
    if shortest < least:
        field = "runs.tokens" if shortest == run_tokens else "tuning.tokens"
        remedy = f"use {least} tokens or more, or smaller batches"
        message = f"gives the largest batch fewer than {FEWEST_STEPS} steps; {remedy}"
        yield Problem(field, message, shortest)


def micro_problems(question: Question, micro: int, batch: int) -> Iterator[Problem]:
    """The problem of a micro-batch size that does not divide the batch, or is not a multiple of the
    context."""
    context = question.data.context
    if batch % micro:
        message = (
            f"does not divide batch {batch}; use a multiple of the context ({context} tokens) that "
            "divides every larger batch, or leave runs.micro_batch_tokens out"
        )
        yield Problem("runs.micro_batch_tokens", message, micro)
    elif micro % context:
        message = (
            f"is not a multiple of the context, {context} tokens; use a multiple that divides "
            "every larger batch"
        )
        yield Problem("runs.micro_batch_tokens", message, micro)


def source_problems(question: Question) -> Iterator[Problem]:
    """Problems of the source of hyperparameters. The source must be either `tuning` alone, or
    `given` and `from_jobs`, alone or together."""
    untuned = bool(question.given) or question.from_jobs is not None
    if untuned == (question.tuning is not None):
        need = "hyperparameters need exactly one source"
        message = (
            f"{need}; leave out `tuning`, or leave out `given` and `from_jobs`"
            if untuned
            else f"is missing; {need}; set `tuning`, `given` or `from_jobs`"
        )
        yield Problem("tuning", message)
    elif question.tuning is None:
        yield from given_problems(question)
    else:
        yield from tuning_problems(question, question.tuning)


def tuning_problems(question: Question, tuning: Tuning) -> Iterator[Problem]:
    """Problems of the search for hyperparameters."""
    batches, field = list(tuning.batch_tokens), "tuning.batch_tokens"
    unknown = [batch for batch in batches if batch not in question.batches]
    if unknown:
        message = "names batches that are not in batch_tokens; choose from batch_tokens"
        yield Problem(field, message, unknown)
    if len(set(batches)) < len(batches):
        yield Problem(field, "names a batch twice; name each once", batches)
    alternative = ", or use `given`"
    problem = ends_problem(tuning.lr, "learning rate", alternative) or lr_points_problem(tuning.lr)
    if problem:
        yield under("tuning.lr", problem)
    weight_decays = list(weight_decays_to_compare(tuning))
    if not weight_decays or len(set(weight_decays)) < len(weight_decays):
        message = "must be one value, or several that differ"
        yield Problem("tuning.weight_decay", message, weight_decays)


def lr_points_problem(lr: Range) -> Problem | None:
    """The problem of learning rates that are too few or too close together; None without such a
    problem. The problem names the field `points`."""
    if lr.points < 3:
        message = "an optimum needs a point on either side; use at least 3 points, preferably 5"
        return Problem("points", message, lr.points)
    return spacing_problem(lr, octaves_of(lr), fewest=3)


def given_problems(question: Question) -> Iterator[Problem]:
    """Problems of hyperparameters that are given twice or are missing."""
    keys = [(values.optimizer, values.batch_tokens) for values in question.given]
    for i, (optimizer, batch) in enumerate(keys):
        if (optimizer, batch) in keys[:i]:
            yield Problem(f"given.{i}", f"repeats {optimizer} at batch {batch}; give each once")
    missing = [name for name in question.optimizers if name not in dict(keys)]
    if question.given and missing:
        remedy = "give them for at least one batch, or drop the optimizer"
        yield Problem("given", f"has no hyperparameters for {', '.join(missing)}; {remedy}")


def budget_problems(question: Question) -> Iterator[Problem]:
    """Problems of the number and length of runs."""
    doublings = question.runs.doublings if question.lowest is not None else 0
    longest = steps_of(question.runs.tokens, question.batches[0]) << doublings
    if longest > MOST_STEPS:
        fewer = "larger batches, or fewer doublings" if doublings else "or larger batches"
        message = (
            f"gives a run of {longest} steps at the smallest batch after {doublings} doublings, "
            f"and the limit is {MOST_STEPS}; use fewer tokens, {fewer}"
        )
        yield Problem("runs.tokens", message, question.runs.tokens)
        return
    most = trials_upper_bound(question)
    if most <= MOST_TRIALS:  # to count more trials exactly would take too long
        most = most_trials(question)
    if most > question.limits.max_trials:
        remedy = "use fewer batches, seeds, points or doublings"
        if most <= MOST_TRIALS:
            remedy = f"raise it to {most}, or {remedy}"
        message = f"the study may need {most} trials; {remedy}"
        yield Problem("limits.max_trials", message, question.limits.max_trials)
