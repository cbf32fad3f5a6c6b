"""Chooses how a worker runs trials of one shape: how many trials together, and compiled or not.

Trials have the same *shape* if they differ only in seed, learning rate and similar numbers. Several
such trials can run together as a *pack* (telescope.train.pack).

A short measurement on random tokens decides. Packs of 1, 2, 4, ... trials are timed until a pack
takes over 5 % more time per trial than the pack of half its size, or until the memory or the limit
`max_members` does not allow a larger pack. If compiling is expected to save more time in the
remaining steps than it costs, packs are timed again as compiled programs. Trials on tables are
never compiled. The fastest program is chosen. But if a simpler program takes at most about 5 % more
time, the simpler one is chosen: a single trial instead of a pack, or a program that is not
compiled.
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

# A pack is chosen only if it takes less time per trial than this share of the time of a single
# trial. A compiled program is chosen only if it takes at most this share of the time that the same
# trials take without compiling.
WORTH_IT = 0.95
# a pack of twice the size is tried only if the last doubling multiplied the time per trial by this
# factor or less
STILL_LEVEL = 1.05
TIMED_ROUNDS = 3
# assumed share of a step's time that compiling saves; measured: 0.25 to 0.4 at widths up to 128,
# 0.1 to 0.2 at 256
SAVED_SHARE = 0.25
FLOAT_BYTES = 4


@dataclass(frozen=True)
class Program:
    """How a worker runs trials of one shape."""

    members: int = 1  # number of trials that run together
    compiled: bool = False
    # Number of steps per worker after which compiling would have saved more time than it costs. inf
    # if compiling was tried or is ruled out, or if nothing was measured.
    repaid_steps: float = math.inf
    reason: str = ""  # why the program is compiled or not


def choose(spec: TrialSpec, max_members: int, steps: float) -> Program:
    """The program for trials with the shape of `spec`, with at most `max_members` trials together.
    `steps` is the number of steps that each worker still has to run with the graph of `spec`. A
    *graph* is compiled code, which trials of several shapes may share (telescope.train.compiled).

    If a single trial needs more memory than packs may take, nothing is measured. Then the program
    is one trial at a time, not compiled.
    """
    if trial_bytes(spec) > free_bytes():
        return Program(reason="not measured: a trial needs more memory than packs may take")
    eager = fastest(spec, max_members, pack.program_of(spec, pack.losses))
    if spec.data.has_answers:
        return Program(eager.members, reason="not compiled: runs on tables are too short")
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
    result = f"compiled in {seconds:.1f} s, {speedup:.2f} times as fast as not compiled"
    if with_graph.seconds > WORTH_IT * eager.seconds:
        return Program(eager.members, reason=f"{result}, which is too little: not used")
    return Program(with_graph.members, compiled=True, reason=result)


@dataclass(frozen=True)
class Timing:
    """Time of one step of a pack."""

    members: int  # number of trials in the pack
    seconds: float  # time of the step, divided by the number of trials


def fastest(spec: TrialSpec, max_members: int, losses: pack.Losses) -> Timing:
    """The timing of the fastest pack among those that are timed. If this pack saves too little time
    per trial, the result is the timing of a single trial."""
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
    """Time a few steps of each pack size. `seconds` holds, for each pack size, the least seconds
    per trial in earlier measurements. Returns a copy that includes the new measurements. The first
    step of a new size is not timed.

    The sizes take turns. Otherwise, other work of the machine during the steps of one size could
    decide which size is the fastest.
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
    """A function whose argument is a pack size, at most `max_members`. It takes one step with a
    pack of this size on random tokens, and returns the seconds that the step took. The step has a
    single micro-batch."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    data, parametrisation = spec.data, spec.optimizer.parametrisation
    micro = spec.horizon.micro_batch_tokens
    windows = micro // data.context if micro else spec.windows
    tokens = torch.randint(data.vocab_size, (max_members, windows, data.context + 1), device=device)
    models = [
        build_model(spec.model, data.vocab_size, data.context, parametrisation).to(device)
        for _ in range(max_members)
    ]
    optimizers = [build_optimizer(model, spec.optimizer) for model in models]

    def step(size: int) -> float:
        started = time.perf_counter()
        # an earlier pack may have given its first model the dropout generators of all its models;
        # reseeding gives each model one generator of its own again
        for model in models[:size]:
            model.reseed(0)
        losses(models[:size], tokens[:size]).sum().backward()  # type: ignore[no-untyped-call]
        step_together(optimizers[:size], [0.0] * size)
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    return step


def trial_bytes(spec: TrialSpec) -> int:
    """The approximate number of bytes that one trial adds to a pack: its weights and gradients, a
    stacked copy of both, its optimizer state, and the activations stored for the backward pass."""
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
    """The number of bytes that packs may take. With a GPU, it is half of the GPU's free memory.
    Without a GPU, it is an eighth of the machine's memory, since several workers share this
    memory."""
    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0]) // 2
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 8
