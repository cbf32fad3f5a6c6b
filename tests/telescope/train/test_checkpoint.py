"""A checkpoint is whole, or it is the previous one."""

from pathlib import Path

import torch

from telescope.train.checkpoint import FORMAT, CheckpointFile, kept_path
from telescope.trials.horizon import Branch


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    CheckpointFile(tmp_path / "new" / "c.pt").save({"step": 7, "x": torch.arange(3)})
    file = CheckpointFile(tmp_path / "new" / "c.pt")
    state = file.load()
    assert state is not None
    assert file.step == 7
    assert state["x"].tolist() == [0, 1, 2]


def test_a_damaged_checkpoint_gives_way_to_the_previous_one(tmp_path: Path) -> None:
    file = CheckpointFile(tmp_path / "c.pt")
    for step in (1, 2):
        file.save({"step": step})
    for damage in (b"", b"rubbish", file.path.read_bytes()[:100]):
        file.path.write_bytes(damage)
        state = file.load()
        assert state is not None
        assert state["step"] == 1


def test_a_checkpoint_of_another_format_or_none_is_no_checkpoint(tmp_path: Path) -> None:
    file = CheckpointFile(tmp_path / "c.pt")
    for state in ({"format": FORMAT - 1, "step": 3}, {"step": 3}):
        torch.save(state, file.path)
        assert file.load() is None
        assert file.step == 0


def test_no_file_is_no_state_and_delete_leaves_nothing(tmp_path: Path) -> None:
    file = CheckpointFile(tmp_path / "c.pt")
    assert file.load() is None
    file.save({"step": 1})
    file.save({"step": 2})
    file.delete()
    assert list(tmp_path.iterdir()) == []


TRUNK = "7" * 32


def kept(folder: Path, step: int, at: int | None = None) -> CheckpointFile:
    """The checkpoint of a branch, beside what its trunk has kept."""
    CheckpointFile(folder / f"{TRUNK}.pt").keep(
        TRUNK, {"step": step, "seconds": 9.0, "curve": [1], "x": "trunk"}
    )
    if at is not None:
        kept_path(folder, TRUNK, step).replace(kept_path(folder, TRUNK, at))
    return CheckpointFile(folder / "branch.pt")


def test_a_branch_begins_at_what_its_trunk_kept_with_a_curve_of_its_own(tmp_path: Path) -> None:
    file = kept(tmp_path, 5)
    CheckpointFile(tmp_path / f"{TRUNK}.pt").delete()  # the trunk has ended
    state = file.load(Branch(trunk=TRUNK, step=5))
    assert state is not None
    assert (state["x"], state["curve"], state["seconds"]) == ("trunk", [], 0.0)
    assert file.step == 5
    assert file.load() is None
    assert [path.name for path in tmp_path.iterdir()] == [f"{TRUNK}@5.pt"]


def test_a_branch_goes_on_from_its_own_checkpoint_where_it_has_one(tmp_path: Path) -> None:
    file = kept(tmp_path, 5)
    file.save({"step": 7, "x": "branch"})
    state = file.load(Branch(trunk=TRUNK, step=5))
    assert state is not None
    assert (state["x"], file.step) == ("branch", 7)


def test_a_kept_state_of_another_trunk_or_step_or_a_damaged_one_is_none(tmp_path: Path) -> None:
    file = kept(tmp_path, 5)
    assert file.load(Branch(trunk="8" * 32, step=5)) is None
    assert file.load(Branch(trunk=TRUNK, step=6)) is None
    assert kept(tmp_path, 5, at=6).load(Branch(trunk=TRUNK, step=6)) is None, (
        "it is not of the step that it is called by"
    )
    file = kept(tmp_path / "other", 5)
    kept_path(tmp_path / "other", TRUNK, 5).write_bytes(b"rubbish")
    assert file.load(Branch(trunk=TRUNK, step=5)) is None
    assert file.step == 0


def test_it_is_due_after_its_interval(tmp_path: Path) -> None:
    assert CheckpointFile(tmp_path / "c.pt", every_seconds=0).due()
    assert not CheckpointFile(tmp_path / "c.pt", every_seconds=1000).due()
