"""The peers of the throughput benchmark do the same work as telescope.

The peers are the programs with which telescope is compared. They do not use telescope.
"""

import ast
from pathlib import Path

import pytest

from benchmarks.arms import LOADS, plain_loops
from benchmarks.peers import plain
from benchmarks.recipes import OPTIMIZERS, recipe, trial
from telescope.train.loop import train_one
from telescope.trials.spec import TrialSpec

pytestmark = pytest.mark.usefixtures("same_products")
TOLERANCE = 1e-4  # in nats; after the few steps of these tests, losses differ only by rounding


def losses(specs: list[TrialSpec]) -> list[float]:
    return [list(train_one(spec))[-1].metrics["loss"] for spec in specs]


def test_a_plain_loop_with_torchs_optimizers_reaches_the_final_loss_of_telescope() -> None:
    width = 64  # twice the base width
    specs = [trial(width, 12, optimizer, seed=3) for optimizer in OPTIMIZERS[:2]]
    last_points = [list(plain.train(recipe(spec)))[-1] for spec in specs]
    assert [step for step, _ in last_points] == [12] * len(specs)
    assert [loss for _, loss in last_points] == pytest.approx(losses(specs), abs=TOLERANCE)


def test_a_plain_loop_has_the_curve_of_telescope() -> None:
    spec = trial(32, 12, OPTIMIZERS[0])
    points = list(train_one(spec))[:-1]
    steps, train_losses = zip(*list(plain.train(recipe(spec)))[:-1], strict=True)
    assert list(steps) == [point.step for point in points]
    expected = [point.metrics["train_loss"] for point in points]
    assert list(train_losses) == pytest.approx(expected, abs=TOLERANCE)


def test_plain_loops_in_processes_return_the_loss_of_each_trial() -> None:
    specs = [trial(32, 4, optimizer) for optimizer in OPTIMIZERS[:2]]
    outcomes = plain_loops(specs, 2)
    assert [outcome.loss for outcome in outcomes] == pytest.approx(losses(specs), abs=TOLERANCE)


def imported_packages(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.ImportFrom(module=module):
                names.add(module or "")
            case ast.Import(names=aliases):
                names |= {alias.name for alias in aliases}
    return {name.partition(".")[0] for name in names}


def test_the_peers_import_nothing_of_telescope() -> None:
    for path in Path(plain.__file__).parent.glob("*.py"):
        assert not imported_packages(path) & {"telescope", "workers", "api"}, path.name


@pytest.mark.parametrize("name", LOADS)
def test_a_load_has_distinct_trials_half_of_them_with_muon_at_each_width_in_every_arm(
    name: str,
) -> None:
    load, specs = LOADS[name], LOADS[name].specs()
    assert len({spec.digest for spec in specs}) == len(specs) == load.trials
    for arm, trials in {"a": load.trials // load.a_trains_one_in, "d": load.trials}.items():
        arm_specs = [specs[number] for number in load.numbers(arm)]
        for width in load.widths:
            names = [spec.optimizer.name for spec in arm_specs if spec.model.width == width]
            assert names.count("muon") == names.count("adamw") == trials // len(load.widths) // 2
