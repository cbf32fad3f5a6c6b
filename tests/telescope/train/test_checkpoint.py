"""Checkpoints are replaced as a whole; a damaged one gives way to the previous one."""

from pathlib import Path

import torch

from telescope.train.checkpoint import FORMAT, CheckpointFile, kept_path
from telescope.trials.horizon import Branch


def test_a_saved_state_is_loaded_unchanged(tmp_path: Path) -> None:
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


def test_a_checkpoint_of_another_format_is_ignored(tmp_path: Path) -> None:
    file = CheckpointFile(tmp_path / "c.pt")
    for state in ({"format": FORMAT - 1, "step": 3}, {"step": 3}):
        torch.save(state, file.path)
        assert file.load() is None
        assert file.step == 0


def test_without_a_file_there_is_no_state_and_delete_removes_all_files(tmp_path: Path) -> None:
    file = CheckpointFile(tmp_path / "c.pt")
    assert file.load() is None
    file.save({"step": 1})
    file.save({"step": 2})
    file.delete()
    assert list(tmp_path.iterdir()) == []


TRUNK = "7" * 32


def branch_checkpoint(folder: Path, step: int, renamed_to: int | None = None) -> CheckpointFile:
    """The checkpoint of a branch, in the folder of a state that its trunk stored at a step. The
    name of the state's file may claim another step."""
    state = {"step": step, "seconds": 9.0, "curve": [1], "x": "trunk"}
    CheckpointFile(folder / f"{TRUNK}.pt").keep(TRUNK, state)
    if renamed_to is not None:
        kept_path(folder, TRUNK, step).replace(kept_path(folder, TRUNK, renamed_to))
    return CheckpointFile(folder / "branch.pt")


def test_a_branch_begins_at_its_trunks_state_without_the_trunks_curve(tmp_path: Path) -> None:
    file = branch_checkpoint(tmp_path, 5)
    CheckpointFile(tmp_path / f"{TRUNK}.pt").delete()  # the trunk has ended
    state = file.load(Branch(trunk=TRUNK, step=5))
    assert state is not None
    assert (state["x"], state["curve"], state["seconds"]) == ("trunk", [], 0.0)
    assert file.step == 5
    assert file.load() is None
    assert [path.name for path in tmp_path.iterdir()] == [f"{TRUNK}@5.pt"]


def test_a_branch_continues_from_its_own_checkpoint_if_it_has_one(tmp_path: Path) -> None:
    file = branch_checkpoint(tmp_path, 5)
    file.save({"step": 7, "x": "branch"})
    state = file.load(Branch(trunk=TRUNK, step=5))
    assert state is not None
    assert (state["x"], file.step) == ("branch", 7)


def test_a_state_of_another_trunk_or_step_or_a_damaged_state_is_ignored(tmp_path: Path) -> None:
    file = branch_checkpoint(tmp_path, 5)
    assert file.load(Branch(trunk="8" * 32, step=5)) is None
    assert file.load(Branch(trunk=TRUNK, step=6)) is None
    renamed = branch_checkpoint(tmp_path, 5, renamed_to=6)
    assert renamed.load(Branch(trunk=TRUNK, step=6)) is None
    file = branch_checkpoint(tmp_path / "other", 5)
    kept_path(tmp_path / "other", TRUNK, 5).write_bytes(b"rubbish")
    assert file.load(Branch(trunk=TRUNK, step=5)) is None
    assert file.step == 0


def test_a_checkpoint_is_due_after_its_interval(tmp_path: Path) -> None:
    assert CheckpointFile(tmp_path / "c.pt", every_seconds=0).due()
    assert not CheckpointFile(tmp_path / "c.pt", every_seconds=1000).due()
