"""Branches give the same points, whether they begin at a stored state or make the trunk's steps
themselves."""

import itertools
import math
from collections.abc import Iterable, Sequence
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
    spec: TrialSpec = request.param
    return spec


def checkpoint(folder: Path, spec: TrialSpec) -> CheckpointFile:
    """A checkpoint under the name that the coordinator gives it; never due."""
    return CheckpointFile(folder / f"{spec.digest}.pt", every_seconds=math.inf)


def without_seconds(points: Iterable[Measurement]) -> list[Measurement]:
    return [replace(point, seconds=0.0) for point in points]


def trained(folder: Path, *specs: TrialSpec) -> list[list[Measurement]]:
    """The curves of a pack, without their seconds."""
    curves = [list[Measurement]() for _ in specs]
    for progress in train(specs, [checkpoint(folder, spec) for spec in specs]):
        assert not isinstance(progress, Left)
        curves[progress.index].append(progress.measurement)
    return [without_seconds(curve) for curve in curves]


@cache
def from_scratch(spec: TrialSpec) -> list[Measurement]:
    """The curve of a run that begins at step 0, without its seconds."""
    return without_seconds(train_one(spec))


Numbers = list[tuple[int, int, dict[str, float]]]


def numbers(points: Sequence[Measurement]) -> Numbers:
    """Step, tokens and metrics of each point. The first point leaves out metrics of its interval,
    which begins earlier in a run without a branch."""
    result = [(point.step, point.tokens, dict(point.metrics)) for point in points]
    for name in ("train_loss", "max_logit", "clipped_heads"):
        result[0][2].pop(name, None)
    return result


def numbers_without_branch(spec: TrialSpec) -> Numbers:
    """The numbers of the same run as a complete trial, after the step at which the branch
    begins."""
    points = train_one(replace(spec, branch=None))
    return numbers([point for point in points if point.step > spec.branch_step])


# Training


def test_a_branch_from_a_stored_state_equals_the_branch_from_scratch_bit_for_bit(
    trunk: TrialSpec, tmp_path: Path
) -> None:
    (curve,) = trained(tmp_path, trunk)
    assert curve == from_scratch(replace(trunk, kept_steps=())), "storing states changes nothing"
    branches = (
        cooldown(trunk, 20, 10),
        extension(trunk, 46),
        cooldown(trunk, 40, 5, evaluate_every=3),
    )
    assert numbers(from_scratch(branches[0])) == numbers_without_branch(branches[0])
    for branch in branches:
        own_file = checkpoint(tmp_path, branch)
        points = without_seconds(train_one(branch, own_file))
        assert own_file.step == branch.branch_step > 0
        assert points == from_scratch(branch)
        assert points[0].step > branch.branch_step
        assert points[-1].flops == trial_flops(branch) < trial_flops(replace(branch, branch=None))


@pytest.mark.parametrize("optimizer", [MUON, ADAMW], ids=["muon", "adamw"])
def test_trunks_and_branches_of_one_shape_train_together(optimizer: object, tmp_path: Path) -> None:
    trunks = [replace(TRUNKS["adamw"], optimizer=optimizer, seed=seed) for seed in range(2)]
    first = trained(tmp_path, *trunks)
    assert first == [from_scratch(trunk) for trunk in trunks]
    # all of 60 steps, and a trial without a trunk beside them
    branches = [cooldown(trunk, step, 60 - step) for trunk in trunks for step in (20, 40)]
    complete = replace(trial(optimizer, horizon=replace(CONSTANT, steps=60)), seed=7)  # type: ignore[arg-type]
    specs = (*branches, complete)
    assert trained(tmp_path, *specs) == [from_scratch(spec) for spec in specs]


def test_an_extension_of_an_extension_continues_the_same_run(tmp_path: Path) -> None:
    trunk = replace(TRUNKS["muon"], kept_steps=(40,))
    longer = extension(trunk, 50, kept_steps=(46, 50))
    longest = extension(longer, 56)
    assert longest.branch == Branch(trunk=longer.digest, step=50)
    for spec in (trunk, longer):
        trained(tmp_path, spec)
    for branch in (longest, cooldown(longer, 46, 8)):
        assert trained(tmp_path, branch) == [from_scratch(branch)]
        assert numbers(from_scratch(branch)) == numbers_without_branch(branch)
    assert kept_path(tmp_path, longer.digest, 46).exists()


def test_states_are_stored_at_their_steps_and_outlive_their_trial(tmp_path: Path) -> None:
    trunk = TRUNKS["adamw"]
    trunk_file = checkpoint(tmp_path, trunk)
    for point in train_one(trunk, trunk_file):
        assert kept_path(tmp_path, trunk.digest, 20).exists() == (point.step >= 20)
        # stored before the last point is yielded
        assert kept_path(tmp_path, trunk.digest, 40).exists() == (point.step >= 40)
    trunk_file.delete()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"{trunk.digest}@20.pt", f"{trunk.digest}@40.pt"]


def test_a_resumed_trunk_stores_the_states_of_repeated_steps_again(tmp_path: Path) -> None:
    trunk = TRUNKS["muon"]
    trunk_file = CheckpointFile(tmp_path / f"{trunk.digest}.pt", every_seconds=0)
    for point in train_one(trunk, trunk_file):
        if point.step >= 20:  # the checkpoint is of step 18
            break
    kept_path(tmp_path, trunk.digest, 20).unlink()
    resumed = checkpoint(tmp_path, trunk)
    list(train_one(trunk, resumed))
    assert resumed.step == 18
    branch = cooldown(trunk, 20, 10)
    branch_file = checkpoint(tmp_path, branch)
    assert without_seconds(train_one(branch, branch_file)) == from_scratch(branch)
    assert branch_file.step == 20


def test_branches_of_a_trunk_that_diverged_make_its_steps_themselves(tmp_path: Path) -> None:
    diverging = trial(replace(ADAMW, lr=1e30), horizon=replace(CONSTANT, record_every=1))
    trunk = replace(diverging, kept_steps=(1, 20))
    (curve,) = trained(tmp_path, trunk)
    assert curve[-1].step < 20
    assert not kept_path(tmp_path, trunk.digest, 20).exists()
    branch = cooldown(trunk, 20, 10)
    branch_file = checkpoint(tmp_path, branch)
    points = list(train_one(branch, branch_file))
    assert (branch_file.step, points[0].step) == (0, 21)
    assert completed(branch, points).diverged


def test_a_trunk_that_stops_below_its_loss_stores_the_state_of_that_step(tmp_path: Path) -> None:
    easy = replace(CONSTANT, evaluate_every=20, stop_below_loss=100.0)
    trunk = replace(trial(horizon=easy), kept_steps=(20, 40))
    (points,) = trained(tmp_path, trunk)
    assert points[-1].step == 20
    assert [kept_path(tmp_path, trunk.digest, step).exists() for step in (20, 40)] == [True, False]
    branch = cooldown(trunk, 20, 10)
    assert trained(tmp_path, branch) == [from_scratch(branch)]


def test_a_branch_is_resumed_from_its_own_checkpoint(tmp_path: Path) -> None:
    trunk = TRUNKS["adamw"]
    trained(tmp_path, trunk)
    branch = cooldown(trunk, 20, 20)
    running = train_one(branch, CheckpointFile(tmp_path / f"{branch.digest}.pt", every_seconds=0))
    first = [next(running) for _ in range(2)]
    running.close()
    resumed = checkpoint(tmp_path, branch)
    rest = list(train_one(branch, resumed))
    assert resumed.step == first[0].step == 24
    assert without_seconds((first[0], *rest)) == from_scratch(branch)


@pytest.mark.parametrize("stopped_at", [3, 19, 20, 21, 25])
def test_a_branch_without_a_stored_state_can_be_resumed_within_the_trunks_steps(
    stopped_at: int, tmp_path: Path
) -> None:
    branch = cooldown(TRUNKS["adamw"], 20, 10)
    steps = itertools.count()
    path = tmp_path / "branch.pt"
    files = (CheckpointFile(path, every_seconds=0),)
    list(train((branch,), files, stopping=lambda index: next(steps) == stopped_at))
    resumed = CheckpointFile(path, every_seconds=math.inf)
    rest = without_seconds(train_one(branch, resumed))
    assert resumed.step == {21: 20, 25: 24}.get(stopped_at, stopped_at)
    assert rest == [point for point in from_scratch(branch) if point.step > resumed.step]


def test_the_time_of_a_branch_covers_its_own_steps_only(tmp_path: Path) -> None:
    trunk = TRUNKS["adamw"]
    trained(tmp_path, trunk)
    branch = cooldown(trunk, 40, 2)
    branches = list(train_one(branch, checkpoint(tmp_path, branch))), list(train_one(branch))
    complete = list(train_one(replace(branch, branch=None)))
    for points in branches:
        # 2 of 42 steps, and the evaluation
        assert 0 < points[-1].seconds < complete[-1].seconds / 3


def test_divergence_of_a_branch_counts_the_steps_of_its_trunk(tmp_path: Path) -> None:
    """The trunk's loss stays above its first loss, but not for long enough; the branch continues
    the count."""
    horizon = replace(CONSTANT, steps=200, warmup_fraction=0.0)
    trunk = replace(trial(replace(ADAMW, lr=10.0), horizon=horizon), kept_steps=(18,))
    trained(tmp_path, trunk)
    branch = cooldown(trunk, 18, 42)
    branch_file = checkpoint(tmp_path, branch)
    points = without_seconds(train_one(branch, branch_file))
    assert branch_file.step == 18
    assert points == from_scratch(branch)
    assert completed(branch, points).diverged
    assert points[-1].step == 24, "23 of its 24 steps have a loss above the first"


# Specs


def test_the_schedule_of_a_cooldown_is_its_trunks_and_then_a_linear_decay() -> None:
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
def test_branches_warm_up_as_long_as_their_trunks_and_decay_over_their_own_steps(
    steps: int, warmup: float
) -> None:
    horizon = HorizonSpec(steps=steps, batch_tokens=128, warmup_fraction=warmup, decay="constant")
    warm = max(1, warmup_steps(horizon))
    trunk = replace(trial(horizon=horizon), kept_steps=(warm, steps))
    for branch in (
        cooldown(trunk, warm, 7),
        cooldown(trunk, steps, 1),
        extension(trunk, 3 * steps),
        extension(trunk, steps + 1),
    ):
        assert warmup_steps(branch.horizon) == warmup_steps(horizon)
        own_steps = range(branch.branch_step, branch.horizon.steps)
        decaying = [step for step in own_steps if lr_factor(branch.horizon, step) < 1]
        assert len(decaying) == (branch.own_steps - 1 if branch.horizon.decay == "wsd" else 0)


def test_a_branch_needs_a_stored_state_and_the_trunks_learning_rates() -> None:
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
