"""The events of a pack that breaks, and the program that a worker runs.

test_contract has the events of packs that do not break.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from telescope.models.transformer import Transformer
from telescope.train import compiled, pack
from telescope.train.checkpoint import FORMAT
from telescope.train.compiled import Graph
from telescope.train.program import Program
from tests.telescope.small import ADAMW, HORIZON, trial
from workers import local, packs, runner
from workers.interface import TERMINAL, Assignment, Failed, Finished
from workers.on_ray.worker import worker_environment


def test_an_exception_in_a_pack_fails_all_trials_that_have_not_ended(tmp_path: Path) -> None:
    point = (3, 384, 1e6, 0.1, {"train_loss": 3.0})
    torch.save(
        {"format": FORMAT, "step": 3, "curve": [point], "model": {}, "optimizer": {}},
        tmp_path / "2.pt",
    )
    assignments = [
        Assignment(i, 1, trial(ADAMW, seed=i), str(tmp_path / f"{i}.pt")) for i in (1, 2)
    ]
    ends = [
        event
        for event in runner.run_attempts(assignments, lambda assignment: False)
        if isinstance(event, TERMINAL)
    ]
    assert [(type(end), end.trial_id) for end in ends] == [(Failed, 1), (Failed, 2)]
    assert all(
        isinstance(end, Failed)
        and end.failure.retryable
        and "Missing key(s)" in end.failure.message
        for end in ends
    )


def test_a_later_exception_does_not_fail_a_trial_that_has_ended(tmp_path: Path) -> None:
    wild = replace(ADAMW, lr=1e30)  # diverges in the first quarter
    horizon = replace(HORIZON, steps=100, record_every=1)
    first, second = (
        Assignment(i, 1, trial(optimizer, horizon=horizon), str(tmp_path / f"{i}.pt"))
        for i, optimizer in enumerate((wild, ADAMW))
    )
    ended: list[int] = []

    def stopping(assignment: Assignment) -> bool:
        if assignment is second and 0 in ended:
            raise OSError("the disk is gone")
        return False

    ends = []
    for event in runner.run_attempts((first, second), stopping):
        if isinstance(event, TERMINAL):
            ends.append(event)
            ended.append(event.trial_id)
    assert [type(end) for end in ends] == [Finished, Failed]
    assert ended == [0, 1]


@pytest.mark.parametrize(
    ("requested", "ready", "used"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_compiled_code_is_used_if_it_is_requested_and_available(
    requested: bool, ready: bool, used: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def counting(models: Sequence[Transformer], windows: torch.Tensor) -> torch.Tensor:
        calls.append(len(models))
        return pack.losses(models, windows)

    monkeypatch.setattr(compiled, "ensure_compiled", lambda graph: ready)
    monkeypatch.setattr(compiled, "compiled_losses", counting)
    assignments = [
        Assignment(i, 1, trial(ADAMW, seed=i), str(tmp_path / f"{i}.pt")) for i in range(2)
    ]
    *_, last = runner.run_attempts(assignments, lambda assignment: False, requested)
    assert isinstance(last, Finished)
    assert calls == ([2] * HORIZON.steps if used else [])


def test_an_executor_passes_the_chosen_program_to_the_runner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs: list[Graph] = []
    monkeypatch.setattr(compiled, "ensure_compiled", lambda graph: graphs.append(graph) or False)  # type: ignore[func-returns-value]
    monkeypatch.setattr(local, "choose", lambda spec, most, steps: Program(compiled=True))
    monkeypatch.setattr(packs, "REPAID_STEPS", 0)
    executor = local.LocalExecutor()
    try:
        executor.submit(Assignment(1, 1, trial(), str(tmp_path / "1.pt")))
        while not any(isinstance(event, TERMINAL) for event in executor.events(10.0)):
            pass
    finally:
        executor.close()
    assert graphs == [Graph.of(trial())]


def test_workers_on_other_nodes_inherit_the_setting_of_compilation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TELESCOPE_COMPILE", "never")
    assert worker_environment()["TELESCOPE_COMPILE"] == "never"
    monkeypatch.delenv("TELESCOPE_COMPILE")
    assert "TELESCOPE_COMPILE" not in worker_environment()
