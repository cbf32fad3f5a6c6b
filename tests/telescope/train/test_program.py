"""The choice of a program from step times, and the measurement of step times on real training."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from telescope.models.transformer import Transformer
from telescope.optim.optimizer import Optimizer, build_optimizer
from telescope.train import compiled, pack, program
from telescope.train.compiled import Graph
from telescope.train.program import Program, Timing, choose, fastest
from telescope.trials.optimizer import OptimizerSpec
from tests.telescope.small import ADAMW, HORIZON, MODEL, MUON, trial


@pytest.mark.parametrize(
    ("seconds_per_trial", "best", "largest"),
    [
        ((1.0, 0.8, 0.6, 0.5), 8, 8),
        ((1.0, 1.0, 0.8, 0.9), 4, 8),
        ((1.0, 0.97, 0.96, 0.96), 1, 8),
        ((1.0, 1.1, 0.1, 0.1), 1, 2),
    ],
    ids=["always", "in the end", "hardly", "never"],
)
def test_packs_are_as_large_as_pays(
    seconds_per_trial: tuple[float, ...], best: int, largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed_sizes: list[int] = []

    def step(size: int) -> float:
        timed_sizes.append(size)
        return size * seconds_per_trial[size.bit_length() - 1]

    monkeypatch.setattr(program, "stepper", lambda spec, most, losses: step)
    best_seconds = seconds_per_trial[best.bit_length() - 1]
    assert fastest(trial(), 8, pack.losses) == Timing(best, best_seconds)
    assert max(timed_sizes) == largest
    assert fastest(trial(), 1, pack.losses) == Timing(1, 1.0)


def test_a_moment_in_which_the_machine_is_busy_does_not_decide(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = count()

    def step(size: int) -> float:
        busy = 5 <= next(calls) < 8
        return size**0.5 * (3.0 if busy else 1.0)

    monkeypatch.setattr(program, "stepper", lambda spec, most, losses: step)
    assert fastest(trial(), 8, pack.losses).members == 8


class Machine:
    """A machine on which a step takes `eager` seconds, or `fused` if it is compiled. Compiling is
    expected to take 100 s, and takes 90 s."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, eager: float = 1.0, fused: float = 0.5
    ) -> None:
        self.compiled_graphs: list[Graph] = []
        seconds: dict[Callable[..., object], float] = {
            pack.losses: eager,
            compiled.compiled_losses: fused,
        }
        monkeypatch.setattr(
            program, "stepper", lambda spec, most, losses: lambda size: size * seconds[losses]
        )
        monkeypatch.setattr(compiled, "obstacle", lambda: None)
        monkeypatch.setattr(compiled, "expected_seconds", lambda graph: 100.0)
        monkeypatch.setattr(compiled, "compile_graph", self.compile_graph)

    def compile_graph(self, graph: Graph) -> float:
        self.compiled_graphs.append(graph)
        return 90.0


def test_a_shape_is_compiled_if_its_remaining_steps_repay_the_expected_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = Machine(monkeypatch)
    assert choose(trial(), 8, 399) == Program(
        1,
        repaid_steps=400.0,
        reason="not compiled: 399 steps are too few to repay the 100 s of compiling",
    )
    assert machine.compiled_graphs == []
    assert choose(trial(), 8, 400) == Program(
        1, compiled=True, reason="compiled in 90.0 s, 2.00 times as fast as not compiled"
    )
    assert machine.compiled_graphs == [Graph.of(trial())]


def test_a_graph_that_is_hardly_faster_is_not_used_and_not_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Machine(monkeypatch, fused=0.96)
    assert choose(trial(), 8, 1e6) == Program(
        1,
        repaid_steps=math.inf,
        reason="compiled in 90.0 s, 1.04 times as fast as not compiled, which is too little: "
        "not used",
    )


def test_after_a_failed_compilation_the_program_is_eager(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(graph: Graph) -> float:
        raise RuntimeError("no Python.h")

    Machine(monkeypatch)
    monkeypatch.setattr(compiled, "compile_graph", fail)
    assert choose(trial(), 8, 1e6) == Program(1, reason="not compiled: RuntimeError('no Python.h')")
    monkeypatch.setattr(compiled, "obstacle", lambda: "this machine cannot")
    assert choose(trial(), 8, 1e6) == Program(1, reason="not compiled: this machine cannot")


def test_a_process_that_cannot_compile_has_a_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert compiled.obstacle() == "TELESCOPE_COMPILE is never"
    monkeypatch.setenv("TELESCOPE_COMPILE", "auto")
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert str(compiled.obstacle()).startswith("there is no C++ compiler")


def test_the_time_of_a_step_is_the_least_of_several_without_the_first() -> None:
    seconds = iter([1.0, 9.0, 6.0, 8.0])
    assert program.time_in_turns(lambda size: next(seconds), (2,), {}) == {2: 3.0}


@pytest.mark.parametrize("optimizer", [MUON, ADAMW], ids=["muon", "adamw"])
def test_the_timed_step_is_a_step_of_training(
    optimizer: OptimizerSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    models: list[Transformer] = []
    have_gradients: list[list[bool]] = []
    step_together = program.step_together

    def recorded_step(optimizers: Sequence[Optimizer], factors: Sequence[float]) -> None:
        have_gradients.append(
            [
                all(parameter.grad is not None for parameter in model.parameters())
                for model in models
            ]
        )
        step_together(optimizers, factors)

    def recorded_optimizer(model: Transformer, spec: OptimizerSpec) -> Optimizer:
        models.append(model)
        return build_optimizer(model, spec)

    monkeypatch.setattr(program, "build_optimizer", recorded_optimizer)
    monkeypatch.setattr(program, "step_together", recorded_step)
    assert program.stepper(trial(optimizer), 3, pack.losses)(2) > 0
    assert have_gradients == [[True, True, False]]


def test_trials_that_exceed_the_memory_are_not_measured() -> None:
    huge = trial(ADAMW, replace(MODEL, width=2**14, depth=100))
    assert program.trial_bytes(huge) > program.free_bytes()
    assert choose(huge, 100, 1e9) == Program(
        reason="not measured: a trial needs more memory than packs may take"
    )


@pytest.mark.parametrize(
    "fields",
    [{}, {"attention": "mla"}, {"norm": "layer", "positions": "learned", "mlp": "gelu"}],
    ids=["plain", "mla", "gpt2-like"],
)
def test_the_estimated_bytes_of_a_trial_agree_with_its_tensors(fields: dict[str, Any]) -> None:
    spec = trial(ADAMW, replace(MODEL, width=256, depth=3, **fields))
    model = Transformer(spec.model, spec.data.vocab_size, spec.data.context, "mup")
    saved_bytes: dict[int, int] = {}  # by storage

    def save(x: torch.Tensor) -> torch.Tensor:
        saved_bytes[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    count, context = HORIZON.batch_tokens // spec.data.context, spec.data.context
    windows = torch.randint(256, (1, count, context + 1))
    with torch.autograd.graph.saved_tensors_hooks(save, lambda x: x):
        pack.losses([model], windows)
    weights = 4 * sum(parameter.numel() for parameter in model.parameters())
    activations = sum(saved_bytes.values()) - weights
    assert 0.7 < program.trial_bytes(spec) / (6 * weights + activations) < 1.5
