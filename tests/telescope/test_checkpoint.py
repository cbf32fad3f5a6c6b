"""A checkpoint is whole or it is the one before."""

from pathlib import Path

import torch

from telescope.checkpoint import FORMAT, CheckpointFile


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


def test_it_is_due_after_its_interval(tmp_path: Path) -> None:
    assert CheckpointFile(tmp_path / "c.pt", every_seconds=0).due()
    assert not CheckpointFile(tmp_path / "c.pt", every_seconds=1000).due()
