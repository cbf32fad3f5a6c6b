"""The peers of the throughput benchmark do the same work as telescope, without using it."""

import ast
from pathlib import Path

import pytest

from benchmarks.arms import LOADS, plain_loops
from benchmarks.peers import plain
from benchmarks.recipes import OPTIMIZERS, recipe, trial
from telescope.train.loop import train_one
from telescope.trials.spec import TrialSpec

AGREED = 1e-4  # nats; after so few steps nothing but rounding differs


def losses(specs: list[TrialSpec]) -> list[float]:
    return [list(train_one(spec))[-1].metrics["loss"] for spec in specs]


def test_a_plain_loop_with_torchs_own_optimizers_ends_where_telescope_ends() -> None:
    specs = [
        trial(64, 12, optimizer, seed=3) for optimizer in OPTIMIZERS[:2]
    ]  # twice the base width
    found = [list(plain.train(recipe(spec)))[-1] for spec in specs]
    assert [step for step, _ in found] == [12] * len(specs)
    assert [loss for _, loss in found] == pytest.approx(losses(specs), abs=AGREED)


def test_a_plain_loop_tells_the_curve_that_telescope_tells() -> None:
    spec = trial(32, 12, OPTIMIZERS[0])
    own = [(point.step, point.metrics["train_loss"]) for point in train_one(spec)][:-1]
    *curve, _ = plain.train(recipe(spec))
    assert [step for step, _ in curve] == [step for step, _ in own]
    assert [loss for _, loss in curve] == pytest.approx([loss for _, loss in own], abs=AGREED)


def test_plain_loops_in_processes_give_each_trial_its_own_loss() -> None:
    specs = [trial(32, 4, optimizer) for optimizer in OPTIMIZERS[:2]]
    assert [outcome.loss for outcome in plain_loops(specs, 2)] == pytest.approx(
        losses(specs), abs=AGREED
    )


def test_what_a_user_would_write_imports_nothing_of_telescope() -> None:
    for path in Path(plain.__file__).parent.glob("*.py"):
        tree = ast.parse(path.read_text())
        imported = {
            node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
        }
        imported |= {
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        assert not {name.partition(".")[0] for name in imported} & {
            "telescope",
            "workers",
            "api",
        }, path.name


@pytest.mark.parametrize("name", LOADS)
def test_a_load_is_of_different_trials_half_of_them_muons_at_each_width_in_every_arm(
    name: str,
) -> None:
    load, specs = LOADS[name], LOADS[name].specs()
    assert len({spec.digest for spec in specs}) == len(specs) == load.trials
    for arm, trials in {"a": load.trials // load.a_trains_one_in, "d": load.trials}.items():
        chosen = [specs[number] for number in load.numbers(arm)]
        for width in load.widths:
            names = [spec.optimizer.name for spec in chosen if spec.model.width == width]
            assert names.count("muon") == names.count("adamw") == trials // len(load.widths) // 2
