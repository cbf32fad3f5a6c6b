"""The fastest way for a worker to run trials of one shape: how many together, and compiled or not.

A short measurement on random tokens decides. Packs of 1, 2, 4, ... trials are timed until a size
needs over 5 % more time per trial than the previous one. Then, if compiling is expected to save
more time over the remaining steps than it costs, packs are timed again as compiled programs. The
fastest program is chosen, or a simpler program that is nearly as fast.

Parts: `Program`, the result · `choose` · `fastest`, `time_in_turns` and `stepper`, the measurement
· `trial_bytes`, `free_bytes`, the limits on memory.
"""

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from telescope.models.build import build_model, family_of
from telescope.optim.groups import describe_groups
from telescope.optim.optimizer import build_optimizer, step_together
from telescope.train import compiled, pack
from telescope.trials.spec import TrialSpec

WORTH_IT = 0.95  # a more complex program must need less than this share of the simpler one's time
# the next doubling of a pack is tried only if the last doubling multiplied the time per trial by at
# most this factor
STILL_LEVEL = 1.05
TIMED_ROUNDS = 3
# assumed share of a step's time that compiling saves; measured: 0.25 to 0.4 at widths up to 128,
# 0.1 to 0.2 at 256
SAVED_SHARE = 0.25
FLOAT_BYTES = 4


@dataclass(frozen=True)
class Program:
    """The way in which a worker runs trials of one shape."""

    members: int = 1  # number of trials that run together
    compiled: bool = False
    # number of steps per worker that would repay the time of compiling; inf if compiling was
    # tried or is impossible, or if nothing was measured
    repaid_steps: float = math.inf
    reason: str = ""  # why it is compiled or not


def choose(spec: TrialSpec, max_members: int, steps: float) -> Program:
    """The fastest program for trials of this shape, at most `max_members` of them together; each
    worker has `steps` steps of the same graph left to run. One trial at a time, not compiled and
    without a measurement, if a trial needs more memory than packs may take."""
    if trial_bytes(spec) > free_bytes():
        return Program(reason="not measured: a trial needs more memory than packs may take")
    eager = fastest(spec, max_members, pack.losses)
    if obstacle := compiled.obstacle():
        return Program(eager.members, reason=f"not compiled: {obstacle}")
    graph = compiled.Graph.of(spec)
    cost_seconds = compiled.expected_seconds(graph)
    repaid_steps = cost_seconds / (SAVED_SHARE * eager.seconds)
    if steps < repaid_steps:
        reason = (
            f"not compiled: {steps:,.0f} steps are too few to repay the {cost_seconds:.0f} s of "
            "compiling"
        )
        return Program(eager.members, repaid_steps=repaid_steps, reason=reason)
    try:
        seconds = compiled.compile_graph(graph)
        with_graph = fastest(spec, max_members, compiled.compiled_losses)
    except Exception as error:  # raised by torch, the compiler, or a library that these call
        return Program(eager.members, reason=f"not compiled: {compiled.obstacle() or repr(error)}")
    speedup = eager.seconds / with_graph.seconds
    result = f"compiled in {seconds:.1f} s, {speedup:.2f} times as fast"
    if with_graph.seconds > WORTH_IT * eager.seconds:
        return Program(eager.members, reason=f"{result}: not used")
    return Program(with_graph.members, compiled=True, reason=result)


@dataclass(frozen=True)
class Timing:
    """Time of one step of a pack."""

    members: int  # number of trials that run together
    seconds: float  # time of the step, divided by the number of members


def fastest(spec: TrialSpec, max_members: int, losses: pack.Losses) -> Timing:
    """The timing of the fastest pack that fits into memory; of a single trial if a pack saves too
    little time."""
    max_members = min(max_members, free_bytes() // trial_bytes(spec))
    step, size = stepper(spec, max_members, losses), 1
    seconds = time_in_turns(step, (1,), {})
    while 2 * size <= max_members and seconds[size] <= STILL_LEVEL * seconds[max(1, size // 2)]:
        size *= 2
        seconds = time_in_turns(step, (size // 2, size), seconds)
    best = min(seconds, key=seconds.__getitem__)
    seconds = time_in_turns(step, (1, best), seconds)
    chosen = best if seconds[best] < WORTH_IT * seconds[1] else 1
    return Timing(chosen, seconds[chosen])


def time_in_turns(
    step: Callable[[int], float], sizes: Sequence[int], seconds: Mapping[int, float]
) -> dict[int, float]:
    """Time a few steps of each pack size. Returns `seconds`, the least seconds per trial by pack
    size, updated with these measurements. The first step of a new size is not timed.

    The sizes take turns, so that a moment in which the machine is busy, for instance with planning
    this job, does not decide which size is the fastest.
    """
    least = dict(seconds)
    for size in sizes:
        if size not in least:
            step(size)
    for _ in range(TIMED_ROUNDS):
        for size in sizes:
            least[size] = min(least.get(size, math.inf), step(size) / size)
    return least


def stepper(spec: TrialSpec, max_members: int, losses: pack.Losses) -> Callable[[int], float]:
    """A function that takes one step with a pack of a given size, at most `max_members`, on random
    tokens, and returns the seconds that the step took."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    data, parametrisation = spec.data, spec.optimizer.parametrisation
    windows = (spec.horizon.micro_batch_tokens or spec.horizon.batch_tokens) // data.context
    tokens = torch.randint(data.vocab_size, (max_members, windows, data.context + 1), device=device)
    models = [
        build_model(spec.model, data.vocab_size, data.context, parametrisation).to(device)
        for _ in range(max_members)
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
    """Approximate memory of one more member of a pack: weights and gradients, a stacked copy of
    both, optimizer state, and the activations that are stored for the backward pass."""
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
    """Bytes that packs may take: half of a GPU's free memory, or without a GPU an eighth of the
    machine's memory, which several workers share."""
    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0]) // 2
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 8
