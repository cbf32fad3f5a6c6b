"""What is wrong with a well-typed compute-time document? Each problem names its field, its value and a remedy."""

import math
from collections.abc import Iterator

from telescope.errors import InvalidInput, Problem, under
from telescope.spec import OCTAVE_PARTS, HorizonSpec, architecture_problems, batch_problem, clip_problems, width_problem
from telescope.studies.compute_time.bill import bound, most_trials
from telescope.studies.compute_time.question import MOST_TRIALS
from telescope.studies.compute_time.runs import steps_of
from telescope.studies.compute_time.study import ComputeTime
from telescope.studies.compute_time.tuning import decays, grid

FEWEST_STEPS = 20  # of a run: in fewer there is no curve to be read
MOST_BATCHES = 64
MOST_STEPS = 2**31 - 1
SMALLEST, LARGEST = 1e-9, 1e9  # of a learning rate


def checked(study: ComputeTime) -> ComputeTime:
    """The study, or InvalidInput with everything that is wrong with it."""
    found = tuple(problems(study)) or tuple(budget_problems(study))
    if found:
        raise InvalidInput.because(found)
    return study


def problems(study: ComputeTime) -> Iterator[Problem]:
    """Everything but what the runs amount to."""
    names = study.optimizers
    if not names:
        yield Problem("optimizer", "an empty list; name muon, adamw, or both", [])
    if len(set(names)) < len(names):
        yield Problem("optimizer", "names an optimizer twice; name each once", list(names))
    for name in ("width", "base_width"):
        width = getattr(study.model, name)
        if width is not None and (problem := width_problem(study.model, width)):
            yield Problem(f"model.{name}", problem, width)
    yield from batch_problems(study)
    yield from source_problems(study)
    for i, loss in enumerate(study.target_losses):
        if loss in study.target_losses[:i]:
            yield Problem(f"target_losses.{i}", "is named twice; name each loss once", loss)
    runs = study.runs
    if runs.warmup_tokens is not None and runs.warmup_tokens > runs.tokens / 2:
        message = f"is more than half of runs.tokens, {runs.tokens}; take a twentieth of it"
        yield Problem("runs.warmup_tokens", message, runs.warmup_tokens)
    yield from (under("model", one) for one in architecture_problems(study.model))
    yield from (under("optimizer_options", one) for one in clip_problems(study.model, study.optimizer_options))
    convention = study.optimizer_options.lr_convention
    if convention == "absolute" and study.parametrisation != "mup-paper":
        message = f"has no meaning under {study.parametrisation}; leave it out, or use parametrisation: mup-paper"
        yield Problem("optimizer_options.lr_convention", message, convention)


def batch_problems(study: ComputeTime) -> Iterator[Problem]:
    """Batches that cannot be cut into windows, or leave too few steps."""
    if not study.batches:
        yield Problem("batch_tokens", "names no batch; list some, or give low and a high that is not below it")
        return
    if len(study.batches) > MOST_BATCHES:
        yield Problem("batch_tokens", f"{len(study.batches)} batches, more than {MOST_BATCHES}; take fewer", len(study.batches))
    if len(set(study.batches)) < len(study.batches):
        yield Problem("batch_tokens", "names a batch twice; name each once", list(study.batches))
    for batch in study.batches:
        micro = study.runs.micro_batch_tokens
        if problem := batch_problem(study.data, HorizonSpec(steps=1, batch_tokens=batch)):
            yield Problem("batch_tokens", problem, batch)
        elif micro is not None and micro < batch:
            yield from micro_problems(study, micro, batch)
    shortest = min(study.runs.tokens, study.tuning.tokens if study.tuning and study.tuning.tokens else study.runs.tokens)
    if shortest < FEWEST_STEPS * study.batches[-1]:
        field = "runs.tokens" if shortest == study.runs.tokens else "tuning.tokens"
        least = FEWEST_STEPS * study.batches[-1]
        message = f"gives the largest batch fewer than {FEWEST_STEPS} steps; take {least} or more, or smaller batches"
        yield Problem(field, message, shortest)


def micro_problems(study: ComputeTime, micro: int, batch: int) -> Iterator[Problem]:
    """Pieces that a batch cannot be cut into, or that cannot be cut into windows."""
    context = study.data.context
    if batch % micro:
        yield Problem("runs.micro_batch_tokens", f"does not divide batch {batch}; use a divisor of every larger batch", micro)
    elif micro % context:
        yield Problem("runs.micro_batch_tokens", f"is not a multiple of the context, {context} tokens; use one", micro)


def source_problems(study: ComputeTime) -> Iterator[Problem]:
    """Where hyperparameters come from: exactly one place."""
    given = bool(study.given) or study.from_jobs is not None
    if given == (study.tuning is not None):
        message = "hyperparameters come from one place; give `tuning`, or `given`, or `from_jobs`"
        yield Problem("tuning", message if given else f"is missing; {message}")
        return
    if study.tuning is None:
        yield from given_problems(study)
        return
    unknown = [batch for batch in study.tuning.batch_tokens if batch not in study.batches]
    if unknown:
        yield Problem("tuning.batch_tokens", "names batches that are not in batch_tokens; tune at some of those", unknown)
    if len(set(study.tuning.batch_tokens)) < len(study.tuning.batch_tokens):
        yield Problem("tuning.batch_tokens", "names a batch twice; name each once", list(study.tuning.batch_tokens))
    lr = study.tuning.lr
    if lr.low >= lr.high:
        yield Problem("tuning.lr.low", f"low {lr.low:g} is not below high {lr.high:g}; swap them, or use `given`", lr.low)
    elif lr.low < SMALLEST or lr.high > LARGEST:
        yield Problem("tuning.lr", f"no learning rate lies beyond {SMALLEST:g} to {LARGEST:g}; choose a narrower range", lr.low)
    elif lr.points < 3:
        yield Problem("tuning.lr.points", "an optimum has a neighbour on either side; take 3 points or more, 5 at best", lr.points)
    elif math.log2(lr.high / lr.low) * OCTAVE_PARTS < lr.points - 1 or len(set(grid(study.tuning))) < lr.points:
        yield Problem("tuning.lr.points", f"{lr.points} points between {lr.low:g} and {lr.high:g} lie too close; take fewer", lr.points)
    if not decays(study.tuning) or len(set(decays(study.tuning))) < len(decays(study.tuning)):
        yield Problem("tuning.weight_decay", "must be one value, or several that differ", list(decays(study.tuning)))


def given_problems(study: ComputeTime) -> Iterator[Problem]:
    """Hyperparameters that are given twice, or not at all."""
    named = [(one.optimizer, one.batch_tokens) for one in study.given]
    for i, (optimizer, batch) in enumerate(named):
        if (optimizer, batch) in named[:i]:
            yield Problem(f"given.{i}", f"repeats {optimizer} at batch {batch}; give each once")
    lacking = [name for name in study.optimizers if name not in dict(named)]
    if study.given and lacking:
        yield Problem("given", f"has no hyperparameters for {', '.join(lacking)}; give some, at one batch at least, or drop the optimizer")


def budget_problems(study: ComputeTime) -> Iterator[Problem]:
    """What the runs may amount to."""
    longest = steps_of(study.runs.tokens, study.batches[0]) << study.runs.doublings
    if longest > MOST_STEPS:
        message = f"doubled {study.runs.doublings} times they are {longest} steps of the smallest batch, more than {MOST_STEPS}; take fewer"
        yield Problem("runs.tokens", message, study.runs.tokens)
        return
    most = bound(study)
    most = most_trials(study) if most <= MOST_TRIALS else most  # counted one by one where there are not too many
    if most > study.limits.max_trials:
        message = f"the study may need {most} trials; raise it to that, or take fewer batches, seeds, points or doublings"
        yield Problem("limits.max_trials", message, study.limits.max_trials)
