"""The fastest way for a worker to run trials of one shape: how many together, and compiled or not.

Decided by a short measurement on random tokens. Packs of 1, 2, 4, ... trials are timed until a size
needs more time per trial than the previous one. Then, if the expected saving over the remaining
steps exceeds the expected time of compiling, the same is done compiled. The fastest wins; a simpler
one wins if it is nearly as fast.

Parts: `Program`, the result · `choose` · `fastest`, `race` and `stepper`, the measurement ·
`trial_bytes`, `free_bytes`, its limits.
"""

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from telescope.models.build import family_of
from telescope.optim.groups import describe_groups
from telescope.optim.optimizer import build_optimizer, step_together
from telescope.train import compiled, pack
from telescope.trials.spec import TrialSpec

WORTH_IT = 0.95  # a more complex way must need less than this share of the simpler one's time
# twice the size is tried only if a pack needs at most this share of the time per trial that half
# its size needs
LEVEL = 1.05
TIMED_ROUNDS = 3
# share of a step that compiling saves, before it was measured; measured: 0.25 to 0.4 at widths up
# to 128, 0.1 to 0.2 at 256
SAVED = 0.25
FLOAT_BYTES = 4


@dataclass(frozen=True)
class Program:
    """The way in which a worker runs trials of one shape."""

    members: int = 1
    compiled: bool = False
    # per worker, from which compiling is worth a try; inf if it was tried or is impossible
    repaid_steps: float = math.inf
    reason: str = ""  # why it is compiled or not


def choose(spec: TrialSpec, most: int, steps: float) -> Program:
    """The fastest program for trials of this shape, up to `most` together; each worker has `steps`
    steps of the same graph left to run."""
    if trial_bytes(spec) > free_bytes():
        return Program(reason="not measured: a trial needs more memory than packs may take")
    eager = fastest(spec, most, pack.losses)
    if obstacle := compiled.obstacle():
        return Program(eager.members, reason=f"not compiled: {obstacle}")
    graph = compiled.Graph.of(spec)
    cost_seconds = compiled.expected_seconds(graph)
    repaid_steps = cost_seconds / (SAVED * eager.seconds)
    if steps < repaid_steps:
        reason = f"not compiled: {steps:,.0f} steps are too few to repay the {cost_seconds:.0f} s of compiling"
        return Program(eager.members, repaid_steps=repaid_steps, reason=reason)
    try:
        seconds = compiled.compile_graph(graph)
        graphed = fastest(spec, most, compiled.compiled_losses)
    except Exception as error:  # raised by torch, by the compiler, or by code that these include
        return Program(eager.members, reason=f"not compiled: {compiled.obstacle() or repr(error)}")
    took = f"compiled in {seconds:.1f} s, {eager.seconds / graphed.seconds:.2f} times as fast"
    if graphed.seconds > WORTH_IT * eager.seconds:
        return Program(eager.members, reason=f"{took}: not used")
    return Program(graphed.members, compiled=True, reason=took)


@dataclass(frozen=True)
class Timing:
    """Number of trials run together, and the seconds of a step per trial."""

    members: int
    seconds: float


def fastest(spec: TrialSpec, most: int, losses: pack.Losses) -> Timing:
    """The best number of trials to run together, within memory; 1 if packing does not pay."""
    most = min(most, free_bytes() // trial_bytes(spec))
    step, least, size = stepper(spec, most, losses), dict[int, float](), 1
    race(step, (1,), least)
    while 2 * size <= most and least[size] <= LEVEL * least[max(1, size // 2)]:
        size *= 2
        race(step, (size // 2, size), least)
    best = min(least, key=least.__getitem__)
    race(step, (1, best), least)
    return Timing(best, least[best]) if least[best] < WORTH_IT * least[1] else Timing(1, least[1])


def race(step: Callable[[int], float], sizes: Sequence[int], least: dict[int, float]) -> None:
    """Time a few steps of each size in turns, and lower the seconds per trial in `least` (by size)
    in place; the first step of a new size is not counted.

    In turns, because a machine that is busy for a moment, for instance with planning this job, must
    not decide between sizes.
    """
    for size in sizes:
        if size not in least:
            step(size)
    for _ in range(TIMED_ROUNDS):
        for size in sizes:
            least[size] = min(least.get(size, math.inf), step(size) / size)


def stepper(spec: TrialSpec, most: int, losses: pack.Losses) -> Callable[[int], float]:
    """A function that makes a step of the given number of models, of `most` new ones, on random
    tokens, and returns its seconds."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    windows = (spec.horizon.micro_batch_tokens or spec.horizon.batch_tokens) // spec.data.context
    tokens = torch.randint(
        spec.data.vocab_size, (most, windows, spec.data.context + 1), device=device
    )
    new, data = family_of(spec.model).build, spec.data
    models = [
        new(spec.model, data.vocab_size, data.context, spec.optimizer.parametrisation).to(device)
        for _ in range(most)
    ]
    optimizers = [build_optimizer(model, spec.optimizer) for model in models]

    def step(size: int) -> float:
        started = time.perf_counter()
        losses(models[:size], tokens[:size]).sum().backward()  # type: ignore[no-untyped-call]
        step_together(optimizers[:size], [0.0] * size)
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    return step


def trial_bytes(spec: TrialSpec) -> int:
    """Approximate memory of one more member: weights, gradients, both again in a stack, optimizer
    state, and the activations of a backward pass."""
    data, tokens = spec.data, spec.horizon.micro_batch_tokens or spec.horizon.batch_tokens
    activations_per_token = family_of(spec.model).activations_per_token
    assert activations_per_token is not None, "packs cannot hold a user's model"
    parameters = sum(
        group.parameters
        for group in describe_groups(spec.model, data.vocab_size, spec.optimizer, data.context)
    )
    return FLOAT_BYTES * (
        6 * parameters
        + tokens * (activations_per_token(spec.model, data.context) + 3 * data.vocab_size)
    )


def free_bytes() -> int:
    """Memory that packs may take: half of a GPU's free memory; an eighth of the machine's, which
    several workers share."""
    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0]) // 2
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 8
