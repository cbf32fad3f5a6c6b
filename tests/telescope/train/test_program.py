"""The fastest program of a shape, for given step times; and the measurement really times steps of
training.
"""

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
    ("per_trial", "size", "tried"),
    [
        ((1.0, 0.8, 0.6, 0.5), 8, 8),
        ((1.0, 1.0, 0.8, 0.9), 4, 8),
        ((1.0, 0.97, 0.96, 0.96), 1, 8),
        ((1.0, 1.1, 0.1, 0.1), 1, 2),
    ],
    ids=["always", "in the end", "hardly", "never"],
)
def test_as_many_are_put_together_as_pays(
    per_trial: tuple[float, ...], size: int, tried: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def step(n: int) -> float:
        asked.append(n)
        return n * per_trial[n.bit_length() - 1]

    monkeypatch.setattr(program, "stepper", lambda spec, most, losses: step)
    assert fastest(trial(), 8, pack.losses) == Timing(size, per_trial[size.bit_length() - 1])
    assert max(asked) == tried
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
    """Steps take `eager` seconds, `fused` once compiled; compiling is expected to take 100 s, and
    takes 90."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, eager: float = 1.0, fused: float = 0.5
    ) -> None:
        self.prepared: list[Graph] = []
        seconds: dict[Callable[..., object], float] = {
            pack.losses: eager,
            compiled.compiled_losses: fused,
        }
        monkeypatch.setattr(
            program, "stepper", lambda spec, most, losses: lambda size: size * seconds[losses]
        )
        monkeypatch.setattr(compiled, "obstacle", lambda: None)
        monkeypatch.setattr(compiled, "expected_seconds", lambda graph: 100.0)
        monkeypatch.setattr(compiled, "compile_graph", self.prepare)

    def prepare(self, graph: Graph) -> float:
        self.prepared.append(graph)
        return 90.0


def test_a_shape_is_compiled_where_the_steps_left_repay_what_that_is_expected_to_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = Machine(monkeypatch)
    assert choose(trial(), 8, 399) == Program(
        1,
        repaid_steps=400.0,
        reason="not compiled: 399 steps are too few to repay the 100 s of compiling",
    )
    assert machine.prepared == []
    assert choose(trial(), 8, 400) == Program(
        1, compiled=True, reason="compiled in 90.0 s, 2.00 times as fast"
    )
    assert machine.prepared == [Graph.of(trial())]


def test_a_graph_that_is_hardly_faster_is_not_used_and_not_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Machine(monkeypatch, fused=0.96)
    assert choose(trial(), 8, 1e6) == Program(
        1, repaid_steps=math.inf, reason="compiled in 90.0 s, 1.04 times as fast: not used"
    )


def test_a_compiler_that_fails_leaves_the_program_as_it_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(graph: Graph) -> float:
        raise RuntimeError("no Python.h")

    Machine(monkeypatch)
    monkeypatch.setattr(compiled, "compile_graph", fail)
    assert choose(trial(), 8, 1e6) == Program(1, reason="not compiled: RuntimeError('no Python.h')")
    monkeypatch.setattr(compiled, "obstacle", lambda: "this machine cannot")
    assert choose(trial(), 8, 1e6) == Program(1, reason="not compiled: this machine cannot")


def test_where_nothing_can_be_compiled_the_reason_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert compiled.obstacle() == "TELESCOPE_COMPILE is never"
    monkeypatch.setenv("TELESCOPE_COMPILE", "auto")
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert str(compiled.obstacle()).startswith("there is no C++ compiler")


def test_a_step_is_timed_by_the_least_seconds_the_first_aside() -> None:
    seconds = iter([1.0, 9.0, 6.0, 8.0])
    assert program.time_in_turns(lambda size: next(seconds), (2,), {}) == {2: 3.0}


@pytest.mark.parametrize("optimizer", [MUON, ADAMW], ids=["muon", "adamw"])
def test_the_step_that_is_timed_is_one_of_training(
    optimizer: OptimizerSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[Transformer] = []
    stepped: list[list[bool]] = []

    def step_together(optimizers: Sequence[Optimizer], factors: Sequence[float]) -> None:
        stepped.append(
            [all(parameter.grad is not None for parameter in model.parameters()) for model in built]
        )
        optimizer_steps(optimizers, factors)

    optimizer_steps = program.step_together
    monkeypatch.setattr(
        program,
        "build_optimizer",
        lambda model, spec: built.append(model) or build_optimizer(model, spec),
    )  # type: ignore[func-returns-value]
    monkeypatch.setattr(program, "step_together", step_together)
    assert program.stepper(trial(optimizer), 3, pack.losses)(2) > 0
    assert stepped == [[True, True, False]]


def test_trials_that_memory_would_not_hold_are_neither_put_together_nor_built() -> None:
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
def test_the_bytes_of_a_trial_are_about_those_that_it_takes(fields: dict[str, Any]) -> None:
    spec = trial(ADAMW, replace(MODEL, width=256, depth=3, **fields))
    model = Transformer(spec.model, spec.data.vocab_size, spec.data.context, "mup")
    kept: dict[int, int] = {}

    def keep(x: torch.Tensor) -> torch.Tensor:
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    windows = torch.randint(
        256, (1, HORIZON.batch_tokens // spec.data.context, spec.data.context + 1)
    )
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        pack.losses([model], windows)
    weights = 4 * sum(parameter.numel() for parameter in model.parameters())
    activations = sum(kept.values()) - weights
    assert 0.7 < program.trial_bytes(spec) / (6 * weights + activations) < 1.5
