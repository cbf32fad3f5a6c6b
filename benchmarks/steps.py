"""Time of one training step of telescope and of a plain loop, and its share of the peak speed.

    python -m benchmarks.steps [--quick]

For every width and optimizer, telescope's eager program, telescope's compiled program and the plain
loop of `benchmarks.peers.plain` train the same trial. They take turns, with a few steps each. The
time of a step includes everything: reading the batch, the forward and backward pass, the update,
the learning-rate schedule, and in telescope the check for divergence.

The share of the peak is the time that the step's FLOPs (`telescope.train.flops`) would take at the
speed of square matrix products, divided by the measured time. The benchmark measures this speed
itself, once for the precision of the Newton-Schulz iteration of Muon (bf16), and once for the
precision of all other products (bf16 on a GPU, fp32 on a CPU). The optimizer step is also measured
alone, on the parameters of a deep model.

This module needs only torch, numpy and pydantic.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from benchmarks.arguments import parsed
from benchmarks.machine import describe
from benchmarks.peers import plain
from benchmarks.recipes import OPTIMIZERS, recipe, trial
from telescope.data import batches
from telescope.models.transformer import Transformer, initialise
from telescope.optim.optimizer import build_optimizer
from telescope.train import compiled, pack
from telescope.train.flops import step_flops, training_flops_per_token
from telescope.train.loop import train, train_one
from telescope.train.pack import Losses
from telescope.trials.optimizer import OptimizerSpec
from telescope.trials.spec import TrialSpec

TURNS = 9  # turns of each program; the time of the first turn is discarded
TURN_SECONDS = 0.25  # intended length of a turn
FOREVER = 10**7  # number of steps of a trial that the benchmark never finishes


def matmul_rate(dtype: torch.dtype, size: int = 1024, seconds: float = 1.5) -> float:
    """Sustained FLOP/s of square matrix products on this process's device."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    x, y = torch.randn(2, size, size, device=device).to(dtype)
    products_per_check = max(1, int(2e11 / size**3)) if device == "cuda" else 1
    torch.mm(x, y)
    synchronise()
    start, products = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        for _ in range(products_per_check):
            torch.mm(x, y)
        synchronise()
        products += products_per_check
    return products * 2 * size**3 / (time.perf_counter() - start)


@dataclass(frozen=True)
class Peaks:
    """FLOP/s of square matrix products in two precisions."""

    training: float  # in the precision of the forward and backward pass
    newton_schulz: float  # in bf16, the precision of the Newton-Schulz iteration

    def least_step_s(self, spec: TrialSpec) -> float:
        """The seconds of a training step if all its FLOPs ran at the peak of their precision."""
        training = spec.horizon.batch_tokens * training_flops_per_token(
            spec.model, spec.data.vocab_size, spec.data.context
        )
        return training / self.training + (step_flops(spec) - training) / self.newton_schulz


def synchronise() -> None:
    """Wait until the GPU has finished its work, if there is a GPU."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def in_turns(sides: Sequence[Callable[[], object]], turns: int = TURNS) -> list[float]:
    """Call the functions in turn, and return the median seconds per call of each function.

    The first call of each function does not count.
    """
    seconds: list[list[float]] = [[] for _ in sides]
    for _ in range(turns):
        for side, times in zip(sides, seconds, strict=True):
            start = time.perf_counter()
            side()
            synchronise()
            times.append(time.perf_counter() - start)
    return [statistics.median(times[1:]) for times in seconds]


@dataclass(frozen=True)
class Step:
    """Seconds of one training step of each program, and of reading a batch."""

    width: int
    optimizer: str
    telescope_s: float
    compiled_s: float
    plain_s: float
    batch_s: float
    least_s: float  # seconds of the step at the peak speed


def measure_step(width: int, optimizer: OptimizerSpec, batch_tokens: int, peaks: Peaks) -> Step:
    """Measure telescope's two programs and the plain loop in turns of about `TURN_SECONDS`."""
    spec = trial(width, FOREVER, optimizer, batch_tokens=batch_tokens)
    spec = replace(spec, horizon=replace(spec.horizon, warmup_fraction=0.0, record_every=1))
    first = plain.train(recipe(spec))
    steps = max(1, min(50, round(TURN_SECONDS / in_turns([lambda: next(first)], 4)[0])))
    spec = replace(spec, horizon=replace(spec.horizon, record_every=steps))
    eager = train_one(spec)
    fused = train((spec,), losses=program(spec))
    loop = plain.train(recipe(spec))
    turns = in_turns([lambda: next(eager), lambda: next(fused), lambda: next(loop)])
    telescope_s, compiled_s, plain_s = (seconds / steps for seconds in turns)
    tokens, step_numbers = batches.open_tokens(spec.data).train, itertools.count()
    context = spec.data.context

    def read_batch() -> None:
        batches.batch(tokens, 0, next(step_numbers), batch_tokens // context, context)

    (batch_s,) = in_turns([read_batch], 50)
    return Step(
        width, optimizer.name, telescope_s, compiled_s, plain_s, batch_s, peaks.least_step_s(spec)
    )


def program(spec: TrialSpec) -> Losses:
    """The compiled program of a trial; the eager program if this machine cannot compile it."""
    possible = compiled.obstacle() is None and compiled.ensure_compiled(compiled.Graph.of(spec))
    return compiled.compiled_losses if possible else pack.losses


@dataclass(frozen=True)
class Update:
    """Seconds of one optimizer step over a model's parameters."""

    width: int
    depth: int
    optimizer: str
    telescope_s: float
    torch_s: float


def measure_update(width: int, depth: int, optimizer: OptimizerSpec) -> Update:
    """Measure the optimizer step of telescope, and of torch.optim's Muon and fused AdamW.

    Both sides get the same random gradients.
    """
    spec = trial(width, 1, optimizer, depth=depth)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = Transformer(
        spec.model, spec.data.vocab_size, spec.data.context, optimizer.parametrisation
    )
    initialise(model, optimizer, 0)
    model, plain_model = model.to(device), plain.Transformer(recipe(spec)).to(device)
    gradients = [torch.randn_like(parameter) for parameter in model.parameters()]
    own_optimizer = build_optimizer(model, optimizer)
    torch_optimizers = plain.optimizers(plain_model, recipe(spec))

    def assign_gradients(module: torch.nn.Module) -> None:
        """Assign the gradients again before a step, since each optimizer step removes them.

        This takes negligible time.
        """
        for parameter, gradient in zip(module.parameters(), gradients, strict=True):
            parameter.grad = gradient

    def step_telescope() -> None:
        assign_gradients(model)
        own_optimizer.step(1.0)

    def step_torch() -> None:
        assign_gradients(plain_model)
        for torch_optimizer in torch_optimizers:
            torch_optimizer.step()
            torch_optimizer.zero_grad(set_to_none=True)

    telescope_s, torch_s = in_turns([step_telescope, step_torch])
    return Update(width, depth, optimizer.name, telescope_s, torch_s)


def step_table(widths: Sequence[int], batch_tokens: int) -> Iterator[str]:
    """Yield the lines of a Markdown table of training steps, each as soon as it is measured."""
    training, size = (torch.bfloat16, 8192) if torch.cuda.is_available() else (torch.float32, 1024)
    peaks = Peaks(matmul_rate(training, size), matmul_rate(torch.bfloat16, size))
    precision = str(training).removeprefix("torch.")
    yield (
        f"A training step has {batch_tokens} tokens. The peak speed of one process is "
        f"{peaks.training / 1e9:,.0f} GFLOP/s in {precision} and "
        f"{peaks.newton_schulz / 1e9:,.0f} GFLOP/s in bfloat16.\n"
    )
    if obstacle := compiled.obstacle():
        yield f"Nothing is compiled: {obstacle}.\n"
    yield (
        "Each ratio is the plain loop's time divided by telescope's. The three shares of the peak "
        "are those of the plain loop, of telescope, and of telescope compiled.\n"
    )
    yield (
        "| width | optimizer | plain loop | telescope | ratio | compiled | ratio "
        "| shares of peak | share of reading the batch |"
    )
    yield "|---:|---|---:|---:|---:|---:|---:|---:|---:|"
    for width in widths:
        for optimizer in OPTIMIZERS[:2]:
            step = measure_step(width, optimizer, batch_tokens, peaks)
            sides = (step.plain_s, step.telescope_s, step.compiled_s)
            loop, eager, fused = (f"{1000 * seconds:.2f} ms" for seconds in sides)
            shares = ", ".join(f"{step.least_s / seconds:.1%}" for seconds in sides)
            yield (
                f"| {width} | {step.optimizer} | {loop} | {eager} "
                f"| {step.plain_s / step.telescope_s:.2f} | {fused} "
                f"| {step.plain_s / step.compiled_s:.2f} "
                f"| {shares} | {step.batch_s / step.telescope_s:.2%} |"
            )


def update_table(widths: Sequence[int], depth: int) -> Iterator[str]:
    """Yield the lines of a Markdown table of optimizer steps, each as soon as it is measured."""
    yield (
        f"The optimizer step updates the parameters of {depth} layers, "
        "with the Newton-Schulz iteration in bf16 on both sides.\n"
    )
    yield "| width | optimizer | telescope | torch.optim | ratio |"
    yield "|---:|---|---:|---:|---:|"
    for width in widths:
        for optimizer in OPTIMIZERS[:2]:
            update = measure_update(width, depth, optimizer)
            yield (
                f"| {width} | {update.optimizer} | {1000 * update.telescope_s:.2f} ms "
                f"| {1000 * update.torch_s:.2f} ms | {update.torch_s / update.telescope_s:.2f} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(widths=[32, 64, 128, 256], depth=24)
    arguments = parsed(parser, widths=[32], depth=2)
    torch.set_num_threads(1)
    print(describe(), "\n")
    for line in step_table(arguments.widths, 512):
        print(line, flush=True)
    print()
    for line in update_table((128,), arguments.depth):
        print(line, flush=True)


if __name__ == "__main__":
    main()
