"""Branches: the same run, whether it begins at its trunk's state or makes the trunk's steps
itself."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from telescope.optim.schedule import lr_factor, warmup_steps
from telescope.train.branch import cooldown, extension
from telescope.train.checkpoint import CheckpointFile, kept_path
from telescope.train.flops import trial_flops
from telescope.train.loop import Left, train, train_one
from telescope.trials.horizon import Branch, HorizonSpec
from telescope.trials.outcome import Measurement, completed
from telescope.trials.spec import TrialSpec
from tests.telescope.small import ADAMW, HORIZON, MUON, trial

CONSTANT = replace(HORIZON, steps=40, decay="constant", record_every=6)
TRUNKS = {
    "muon": replace(trial(horizon=CONSTANT), kept_steps=(20, 40)),
    "adamw": replace(trial(ADAMW, horizon=CONSTANT), kept_steps=(20, 40)),
    "accumulating": replace(
        trial(horizon=replace(CONSTANT, micro_batch_tokens=32)), kept_steps=(20, 40)
    ),
    "evaluated": replace(
        trial(ADAMW, horizon=replace(CONSTANT, evaluate_every=5)), kept_steps=(20, 40)
    ),
    "clipped": replace(
        trial(replace(MUON, lr=0.2, qk_clip=0.5), horizon=replace(CONSTANT, warmup_fraction=0.0)),
        kept_steps=(20, 40),
    ),
}


@pytest.fixture(params=TRUNKS.values(), ids=TRUNKS)
def trunk(request: pytest.FixtureRequest) -> TrialSpec:
    found: TrialSpec = request.param
    return found


def file(folder: Path, spec: TrialSpec) -> CheckpointFile:
    """As the coordinator names them; never due."""
    return CheckpointFile(folder / f"{spec.digest}.pt", every_seconds=math.inf)


def trained(folder: Path, *specs: TrialSpec) -> list[list[Measurement]]:
    """The curves of a pack, without their seconds."""
    files, found = [file(folder, spec) for spec in specs], [list[Measurement]() for _ in specs]
    for told in train(specs, files):
        assert not isinstance(told, Left)
        found[told.index].append(replace(told.measurement, seconds=0.0))
    return found


@cache
def alone(spec: TrialSpec) -> list[Measurement]:
    """The curve of a run that begins at step 0."""
    return [replace(point, seconds=0.0) for point in train_one(spec)]


def whole(spec: TrialSpec) -> list[tuple[int, int, dict[str, float]]]:
    """The points of a run without a trunk after that step, except for values of its first point
    that cover an interval of other steps."""
    rest = [
        point for point in train_one(replace(spec, branch=None)) if point.step > spec.branch_step
    ]
    return numbers(rest)


def numbers(points: Sequence[Measurement]) -> list[tuple[int, int, dict[str, float]]]:
    found = [(point.step, point.tokens, dict(point.metrics)) for point in points]
    for name in ("train_loss", "max_logit", "clipped_heads"):
        found[0][2].pop(name, None)
    return found


# Training


def test_a_branch_begun_at_a_kept_state_yields_what_it_yields_from_scratch_bit_for_bit(
    trunk: TrialSpec, tmp_path: Path
) -> None:
    (curve,) = trained(tmp_path, trunk)
    assert curve == alone(replace(trunk, kept_steps=())), "what is kept changes nothing"
    branches = (
        cooldown(trunk, 20, 10),
        extension(trunk, 46),
        cooldown(trunk, 40, 5, evaluate_every=3),
    )
    assert numbers(alone(branches[0])) == whole(branches[0])
    for branch in branches:
        began = file(tmp_path, branch)
        points = [replace(point, seconds=0.0) for point in train_one(branch, began)]
        assert began.step == branch.branch_step > 0
        assert points == alone(branch)
        assert points[0].step > branch.branch_step
        assert points[-1].flops == trial_flops(branch) < trial_flops(replace(branch, branch=None))


@pytest.mark.parametrize("optimizer", [MUON, ADAMW], ids=["muon", "adamw"])
def test_trunks_and_branches_of_one_shape_train_together(optimizer: object, tmp_path: Path) -> None:
    trunks = [replace(TRUNKS["adamw"], optimizer=optimizer, seed=seed) for seed in range(2)]
    first = trained(tmp_path, *trunks)
    assert first == [alone(trunk) for trunk in trunks]
    # of 60 steps, as a newcomer
    branches = [cooldown(trunk, step, 60 - step) for trunk in trunks for step in (20, 40)]
    newcomer = replace(trial(optimizer, horizon=replace(CONSTANT, steps=60)), seed=7)  # type: ignore[arg-type]
    assert trained(tmp_path, *branches, newcomer) == [alone(spec) for spec in (*branches, newcomer)]


def test_an_extension_of_an_extension_is_the_same_run_carried_on(tmp_path: Path) -> None:
    trunk = replace(TRUNKS["muon"], kept_steps=(40,))
    longer = extension(trunk, 50, kept_steps=(46, 50))
    longest = extension(longer, 56)
    assert longest.branch == Branch(trunk=longer.digest, step=50)
    for spec in (trunk, longer):
        trained(tmp_path, spec)
    for branch in (longest, cooldown(longer, 46, 8)):
        assert trained(tmp_path, branch) == [alone(branch)]
        assert numbers(alone(branch)) == whole(branch)
    assert kept_path(tmp_path, longer.digest, 46).exists()


def test_states_are_kept_at_their_steps_and_outlive_their_trial(tmp_path: Path) -> None:
    trunk = TRUNKS["adamw"]
    began = file(tmp_path, trunk)
    for point in train_one(trunk, began):
        assert kept_path(tmp_path, trunk.digest, 20).exists() == (point.step >= 20)
        assert kept_path(tmp_path, trunk.digest, 40).exists() == (point.step >= 40), (
            "before its last point is heard of"
        )
    began.delete()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{trunk.digest}@20.pt",
        f"{trunk.digest}@40.pt",
    ]


def test_a_trunk_that_resumes_keeps_again_what_it_passes_again(tmp_path: Path) -> None:
    trunk = TRUNKS["muon"]
    began = CheckpointFile(tmp_path / f"{trunk.digest}.pt", every_seconds=0)
    for point in train_one(trunk, began):
        if point.step >= 20:  # the checkpoint is of step 18
            break
    kept_path(tmp_path, trunk.digest, 20).unlink()
    resumed = file(tmp_path, trunk)
    list(train_one(trunk, resumed))
    assert resumed.step == 18
    branch = cooldown(trunk, 20, 10)
    again = file(tmp_path, branch)
    assert [replace(point, seconds=0.0) for point in train_one(branch, again)] == alone(branch)
    assert again.step == 20


def test_a_trunk_that_ends_early_keeps_fewer_and_its_branches_do_without(tmp_path: Path) -> None:
    wild = replace(
        trial(replace(ADAMW, lr=1e30), horizon=replace(CONSTANT, record_every=1)),
        kept_steps=(1, 20),
    )
    (curve,) = trained(tmp_path, wild)
    assert curve[-1].step < 20
    assert not kept_path(tmp_path, wild.digest, 20).exists()
    branch = cooldown(wild, 20, 10)
    began = file(tmp_path, branch)
    points = list(train_one(branch, began))
    assert (began.step, points[0].step) == (0, 21)
    assert completed(branch, points).diverged


def test_a_trunk_stopped_below_its_loss_at_a_step_that_it_keeps_keeps_it(tmp_path: Path) -> None:
    easy = replace(CONSTANT, evaluate_every=20, stop_below_loss=100.0)
    trunk = replace(trial(horizon=easy), kept_steps=(20, 40))
    (points,) = trained(tmp_path, trunk)
    assert points[-1].step == 20
    assert [kept_path(tmp_path, trunk.digest, step).exists() for step in (20, 40)] == [True, False]
    branch = cooldown(trunk, 20, 10)
    assert trained(tmp_path, branch) == [alone(branch)]


def test_a_branch_is_resumed_from_its_own_checkpoint(tmp_path: Path) -> None:
    trunk = TRUNKS["adamw"]
    trained(tmp_path, trunk)
    branch = cooldown(trunk, 20, 20)
    running = train_one(branch, CheckpointFile(tmp_path / f"{branch.digest}.pt", every_seconds=0))
    first = [next(running) for _ in range(2)]
    running.close()
    resumed = file(tmp_path, branch)
    rest = list(train_one(branch, resumed))
    assert resumed.step == first[0].step == 24
    assert [replace(point, seconds=0.0) for point in (first[0], *rest)] == alone(branch)


@pytest.mark.parametrize("dies_at", [3, 19, 20, 21, 25])
def test_a_branch_without_its_trunk_is_resumed_within_the_trunks_steps_too(
    dies_at: int, tmp_path: Path
) -> None:
    branch = cooldown(TRUNKS["adamw"], 20, 10)
    steps = itertools.count()
    path = tmp_path / "branch.pt"
    list(
        train(
            (branch,),
            (CheckpointFile(path, every_seconds=0),),
            stopping=lambda index: next(steps) == dies_at,
        )
    )
    resumed = CheckpointFile(path, every_seconds=math.inf)
    rest = [replace(point, seconds=0.0) for point in train_one(branch, resumed)]
    assert resumed.step == {21: 20, 25: 24}.get(dies_at, dies_at)
    assert rest == [point for point in alone(branch) if point.step > resumed.step]


def test_the_time_of_a_branch_is_that_of_its_own_steps(tmp_path: Path) -> None:
    trunk = TRUNKS["adamw"]
    trained(tmp_path, trunk)
    branch = cooldown(trunk, 40, 2)
    branches = list(train_one(branch, file(tmp_path, branch))), list(train_one(branch))
    whole = list(train_one(replace(branch, branch=None)))
    for points in branches:
        assert 0 < points[-1].seconds < whole[-1].seconds / 3  # 2 of 42 steps, and the evaluation


def test_a_branch_knows_how_its_trunk_began_when_it_judges_divergence(tmp_path: Path) -> None:
    """The trunk's loss stays above its start, though not for long enough; in the branch it goes
    on."""
    horizon = replace(CONSTANT, steps=200, warmup_fraction=0.0)
    trunk = replace(trial(replace(ADAMW, lr=10.0), horizon=horizon), kept_steps=(18,))
    trained(tmp_path, trunk)
    branch = cooldown(trunk, 18, 42)
    began = file(tmp_path, branch)
    points = [replace(point, seconds=0.0) for point in train_one(branch, began)]
    assert began.step == 18
    assert points == alone(branch)
    assert completed(branch, points).diverged
    assert points[-1].step == 24, "of whose 24 steps 23 were above the first"


# Specs


def test_the_schedule_of_a_cooldown_is_its_trunks_and_then_a_line() -> None:
    trunk = replace(trial(horizon=replace(CONSTANT, final_lr_fraction=0.1)), kept_steps=(20,))
    branch = cooldown(trunk, 20, 10, evaluate_every=5, stop_below_loss=3.0)
    assert (branch.horizon.steps, branch.own_steps, branch.horizon.decay) == (30, 10, "wsd")
    assert (branch.horizon.evaluate_every, branch.horizon.stop_below_loss) == (5, 3.0)
    assert branch.horizon.warmup_fraction == (4 - 0.5) / 30
    factors = [lr_factor(branch.horizon, step) for step in range(30)]
    assert factors[:20] == [lr_factor(trunk.horizon, step) for step in range(20)]
    assert factors[20:] == pytest.approx([1 - 0.9 * step / 10 for step in range(10)])
    assert replace(branch, horizon=trunk.horizon, branch=None, kept_steps=(20,)) == trunk


@pytest.mark.parametrize("steps", [*range(1, 40, 3), 77, 1000, 12_345])
@pytest.mark.parametrize("warmup", [0.0, 1e-9, 0.01, 0.1, 1 / 3, 0.5])
def test_branches_warm_up_as_long_as_their_trunks_and_cool_down_as_long_as_they_are_told(
    steps: int, warmup: float
) -> None:
    horizon = HorizonSpec(steps=steps, batch_tokens=128, warmup_fraction=warmup, decay="constant")
    at = max(1, warmup_steps(horizon))
    trunk = replace(trial(horizon=horizon), kept_steps=(at, steps))
    for branch in (
        cooldown(trunk, at, 7),
        cooldown(trunk, steps, 1),
        extension(trunk, 3 * steps),
        extension(trunk, steps + 1),
    ):
        assert warmup_steps(branch.horizon) == warmup_steps(horizon)
        below = [
            step
            for step in range(branch.horizon.steps)
            if step >= branch.branch_step and lr_factor(branch.horizon, step) < 1
        ]
        assert len(below) == (branch.own_steps - 1 if branch.horizon.decay == "wsd" else 0)


def test_what_a_trunk_does_not_keep_or_does_otherwise_is_no_branch() -> None:
    trunk = replace(trial(horizon=CONSTANT), kept_steps=(2, 20))
    with pytest.raises(AssertionError, match="keeps no state at step 10"):
        cooldown(trunk, 10, 10)
    with pytest.raises(AssertionError, match="keeps no state at step 40"):
        extension(trunk, 60)
    with pytest.raises(AssertionError, match="within the trunk's warm-up"):
        cooldown(trunk, 2, 10)
    decaying = replace(trunk, horizon=replace(CONSTANT, decay="linear"), kept_steps=(4, 6, 40))
    cooldown(decaying, 4, 10)
    for build in (lambda: cooldown(decaying, 6, 10), lambda: extension(decaying, 60)):
        with pytest.raises(AssertionError, match="learning rates up to step"):
            build()
