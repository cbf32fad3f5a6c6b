"""Checks of a well-typed compute-time document. Each problem names its field, value and remedy."""

import math
from collections.abc import Iterator

from telescope.errors import InvalidInput, Problem, under
from telescope.studies.compute_time.bill import most_trials, trials_upper_bound
from telescope.studies.compute_time.question import MOST_TRIALS, Question
from telescope.studies.compute_time.runs import steps_of
from telescope.studies.compute_time.tuning import first_rates, weight_decays_to_compare
from telescope.trials.architecture import architecture_problems, width_problem
from telescope.trials.horizon import HorizonSpec, batch_problem
from telescope.trials.lattice import OCTAVE_PARTS
from telescope.trials.optimizer import clip_problems

FEWEST_STEPS = 20  # of a run; fewer give no curve to read
MOST_BATCHES = 64
MOST_STEPS = 2**31 - 1
SMALLEST, LARGEST = 1e-9, 1e9  # of a learning rate


def checked(question: Question) -> Question:
    """The question itself. Raises InvalidInput with all its problems."""
    found = tuple(problems(question)) or tuple(budget_problems(question))
    if found:
        raise InvalidInput.because(found)
    return question


def problems(question: Question) -> Iterator[Problem]:
    """All problems but those of the number of runs."""
    names = question.optimizers
    if not names:
        yield Problem("optimizer", "an empty list; name muon, adamw, or both", [])
    if len(set(names)) < len(names):
        yield Problem("optimizer", "names an optimizer twice; name each once", list(names))
    for name in ("width", "base_width"):
        width = getattr(question.model, name)
        if width is not None and (problem := width_problem(question.model, width)):
            yield Problem(f"model.{name}", problem, width)
    yield from batch_problems(question)
    yield from source_problems(question)
    for i, loss in enumerate(question.target_losses):
        if loss in question.target_losses[:i]:
            yield Problem(f"target_losses.{i}", "is named twice; name each loss once", loss)
    runs = question.runs
    if runs.warmup_tokens is not None and runs.warmup_tokens > runs.tokens / 2:
        message = f"is more than half of runs.tokens, {runs.tokens}; use a twentieth of it"
        yield Problem("runs.warmup_tokens", message, runs.warmup_tokens)
    yield from (under("model", one) for one in architecture_problems(question.model))
    yield from (
        under("optimizer_options", one)
        for one in clip_problems(question.model.known_attention(), question.optimizer_options)
    )
    convention = question.optimizer_options.lr_convention
    if convention == "absolute" and question.parametrisation != "mup-paper":
        message = f"has no meaning under {question.parametrisation}; leave it out, or use parametrisation: mup-paper"
        yield Problem("optimizer_options.lr_convention", message, convention)


def batch_problems(question: Question) -> Iterator[Problem]:
    """Problems of batches that do not split into windows, or leave too few steps."""
    if not question.batches:
        yield Problem(
            "batch_tokens",
            "names no batch; list some, or give low and high, with high at least low",
        )
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
    shortest = min(
        question.runs.tokens,
        question.tuning.tokens
        if question.tuning and question.tuning.tokens
        else question.runs.tokens,
    )
    if shortest < FEWEST_STEPS * question.batches[-1]:
        field = "runs.tokens" if shortest == question.runs.tokens else "tuning.tokens"
        least = FEWEST_STEPS * question.batches[-1]
        remedy = f"use {least} or more, or smaller batches"
        message = f"gives the largest batch fewer than {FEWEST_STEPS} steps; {remedy}"
        yield Problem(field, message, shortest)


def micro_problems(question: Question, micro: int, batch: int) -> Iterator[Problem]:
    """Problems of micro-batches that do not divide a batch, or do not split into windows."""
    context = question.data.context
    if batch % micro:
        message = f"does not divide batch {batch}; use a divisor of every larger batch"
        yield Problem("runs.micro_batch_tokens", message, micro)
    elif micro % context:
        message = f"is not a multiple of the context, {context} tokens; use one"
        yield Problem("runs.micro_batch_tokens", message, micro)


def source_problems(question: Question) -> Iterator[Problem]:
    """Problems of the source of hyperparameters, which must be exactly one."""
    given = bool(question.given) or question.from_jobs is not None
    if given == (question.tuning is not None):
        message = "hyperparameters need exactly one source; set `tuning`, `given` or `from_jobs`"
        yield Problem("tuning", message if given else f"is missing; {message}")
        return
    if question.tuning is None:
        yield from given_problems(question)
        return
    unknown = [batch for batch in question.tuning.batch_tokens if batch not in question.batches]
    if unknown:
        yield Problem(
            "tuning.batch_tokens",
            "names batches that are not in batch_tokens; choose among those",
            unknown,
        )
    if len(set(question.tuning.batch_tokens)) < len(question.tuning.batch_tokens):
        yield Problem(
            "tuning.batch_tokens",
            "names a batch twice; name each once",
            list(question.tuning.batch_tokens),
        )
    lr = question.tuning.lr
    if lr.low >= lr.high:
        yield Problem(
            "tuning.lr.low",
            f"low {lr.low:g} is not below high {lr.high:g}; swap them, or use `given`",
            lr.low,
        )
    elif lr.low < SMALLEST or lr.high > LARGEST:
        limits = f"{SMALLEST:g} to {LARGEST:g}"
        message = f"learning rates must lie within {limits}; choose a narrower range"
        yield Problem("tuning.lr", message, lr.low)
    elif lr.points < 3:
        message = "an optimum needs a neighbour on either side; use at least 3 points, preferably 5"
        yield Problem("tuning.lr.points", message, lr.points)
    elif (
        math.log2(lr.high / lr.low) * OCTAVE_PARTS < lr.points - 1
        or len(set(first_rates(question.tuning))) < lr.points
    ):
        points = f"{lr.points} points between {lr.low:g} and {lr.high:g}"
        yield Problem("tuning.lr.points", f"{points} are too close together; use fewer", lr.points)
    if not weight_decays_to_compare(question.tuning) or len(
        set(weight_decays_to_compare(question.tuning))
    ) < len(weight_decays_to_compare(question.tuning)):
        yield Problem(
            "tuning.weight_decay",
            "must be one value, or several that differ",
            list(weight_decays_to_compare(question.tuning)),
        )


def given_problems(question: Question) -> Iterator[Problem]:
    """Problems of hyperparameters that are given twice or are missing."""
    named = [(one.optimizer, one.batch_tokens) for one in question.given]
    for i, (optimizer, batch) in enumerate(named):
        if (optimizer, batch) in named[:i]:
            yield Problem(f"given.{i}", f"repeats {optimizer} at batch {batch}; give each once")
    lacking = [name for name in question.optimizers if name not in dict(named)]
    if question.given and lacking:
        remedy = "give some for at least one batch, or drop the optimizer"
        yield Problem("given", f"has no hyperparameters for {', '.join(lacking)}; {remedy}")


def budget_problems(question: Question) -> Iterator[Problem]:
    """Problems of the number and length of runs."""
    longest = steps_of(question.runs.tokens, question.batches[0]) << question.runs.doublings
    if longest > MOST_STEPS:
        message = (
            f"doubled {question.runs.doublings} times, a run has {longest} steps of the smallest "
            f"batch, more than {MOST_STEPS}; use fewer tokens, larger batches, or fewer doublings"
        )
        yield Problem("runs.tokens", message, question.runs.tokens)
        return
    most = trials_upper_bound(question)
    most = most_trials(question) if most <= MOST_TRIALS else most  # the exact count takes long
    if most > question.limits.max_trials:
        remedy = "raise it to that, or use fewer batches, seeds, points or doublings"
        message = f"the study may need {most} trials; {remedy}"
        yield Problem("limits.max_trials", message, question.limits.max_trials)
