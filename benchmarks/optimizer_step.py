"""How long does one optimizer step take, beside torch's own optimizers?

    python -m benchmarks.optimizer_step [--depth 24] [--widths 32 64 128 256] [--repeats 15]

The parameters of a Transformer of 24 blocks, with the same random gradients for all. Here: `telescope.optimizer`. There: torch.optim.Muon
for the hidden matrices and fused torch.optim.AdamW for the rest, with the same hyperparameters; both orthogonalise in bfloat16, and both
are measured with the forgetting of the gradients. Weights are compared after the first steps, and a difference ends the program.

Medians of interleaved repeats. On a CPU one thread, in its own seconds, so that a busy machine does not count; on a GPU wall-clock between
synchronisations. The last columns are the floor: FLOPs of the products in Newton-Schulz, over the rate that one large bfloat16 product
reaches, and what share of telescope's step that is.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from telescope.model import Transformer, initialise
from telescope.optimizer import Optimizer, build, groups
from telescope.spec import ModelSpec, OptimizerSpec

SPEC = OptimizerSpec(name="muon", lr=0.02, weight_decay=0.1, update_scale="spectral_clamped")  # torch's `original`
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
WARM_UP = 3
PEAK_SIZE = 2048


def model(width: int, depth: int) -> Transformer:
    """A Transformer, initialised from a fixed seed."""
    net = Transformer(ModelSpec(width=width, base_width=width, depth=depth, head_dim=16), 256, 64, SPEC.parametrisation)
    initialise(net, SPEC, seed=0)
    return net.to(DEVICE)


def torch_step(net: Transformer) -> Callable[[], None]:
    """One step of torch's optimizers, with telescope's groups and values."""
    said = groups(net, SPEC)
    matrices = [net.get_parameter(name) for group in said if group.uses_muon for name in group.names]
    muon_lr, muon_decay = next((group.scaled_lr, group.weight_decay) for group in said if group.uses_muon)
    rest = [
        {"params": [net.get_parameter(name) for name in g.names], "lr": g.scaled_lr, "weight_decay": g.weight_decay, "eps": g.eps}
        for g in said
        if not g.uses_muon
    ]
    muon = torch.optim.Muon(matrices, lr=muon_lr, weight_decay=muon_decay, adjust_lr_fn="original")
    adamw = torch.optim.AdamW(rest, betas=(SPEC.beta1, SPEC.beta2), fused=True)

    def step() -> None:
        for optimizer in (muon, adamw):
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return step


def telescope_step(net: Transformer) -> Callable[[], None]:
    """One step of telescope's."""
    optimizer: Optimizer = build(net, SPEC)
    return lambda: optimizer.step(1.0)


def seconds(action: Callable[[], object]) -> float:
    """How long it takes."""
    clock = time.perf_counter if DEVICE.type == "cuda" else time.process_time
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    started = clock()
    action()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return clock() - started


def measure(width: int, depth: int, repeats: int) -> tuple[float, float]:
    """Median seconds per step: telescope's, torch's."""
    nets = model(width, depth), model(width, depth)
    steps = telescope_step(nets[0]), torch_step(nets[1])
    generator = torch.Generator().manual_seed(0)
    gradients = [torch.randn(p.shape, generator=generator).to(DEVICE) for p in nets[0].parameters()]
    taken: tuple[list[float], list[float]] = [], []
    for repeat in range(WARM_UP + repeats):
        for net, step, times in zip(nets, steps, taken, strict=True):
            for parameter, gradient in zip(net.parameters(), gradients, strict=True):
                parameter.grad = gradient
            times.append(seconds(step))
        if repeat == WARM_UP:
            for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
                torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    ours, theirs = (statistics.median(times[WARM_UP:]) for times in taken)
    return ours, theirs


def newton_schulz_flops(net: Transformer) -> int:
    """Of the products in one step: per matrix and iteration 4 m^2 n + 2 m^3, m the smaller side."""
    shapes = [net.get_parameter(name).shape for group in groups(net, SPEC) if group.uses_muon for name in group.names]
    return SPEC.newton_schulz_steps * sum(4 * min(s) ** 2 * max(s) + 2 * min(s) ** 3 for s in shapes)


def peak_flops_per_second() -> float:
    """What the best of a few large bfloat16 products reaches."""
    a: Tensor = torch.randn(PEAK_SIZE, PEAK_SIZE, device=DEVICE, dtype=torch.bfloat16)
    return 2 * PEAK_SIZE**3 / min(seconds(lambda: a @ a) for _ in range(6))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a row per width."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depth", type=int, default=24)
    parser.add_argument("--widths", type=int, nargs="+", default=[32, 64, 128, 256])
    parser.add_argument("--repeats", type=int, default=15)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    peak = peak_flops_per_second()
    print(f"{DEVICE.type}, torch {torch.__version__}, depth {asked.depth}, bfloat16 product {peak / 1e9:.0f} GFLOP/s")
    print(f"{'width':>5}  {'telescope ms':>12}  {'torch ms':>8}  {'ratio':>5}  {'floor ms':>8}  {'share':>5}")
    for width in asked.widths:
        ours, theirs = measure(width, asked.depth, asked.repeats)
        floor = newton_schulz_flops(model(width, asked.depth)) / peak
        print(f"{width:>5}  {ours * 1e3:>12.2f}  {theirs * 1e3:>8.2f}  {theirs / ours:>5.2f}  {floor * 1e3:>8.2f}  {floor / ours:>5.0%}")


if __name__ == "__main__":
    main()
