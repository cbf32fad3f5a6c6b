"""The pictures are written, whatever the report holds so far."""

from pathlib import Path
from typing import Any

import pytest

from telescope.errors import Conflict
from telescope.studies.grokking.plot import draw, draw_run
from telescope.trials.outcome import Measurement
from tests.telescope.studies.grokking.simulated import (
    by_optimizer,
    document,
    finished,
    study_of,
    tuned,
)

TASKS = [{"task": "add", "modulus": 7}, {"task": "parity", "bits": 4}]


@pytest.mark.parametrize("ended", [0, 1, 5, 16])
@pytest.mark.parametrize("changes", [document(), document(data=TASKS), tuned()])
def test_a_report_is_drawn_at_every_stage(
    changes: dict[str, Any], ended: int, tmp_path: Path
) -> None:
    study = study_of(changes)
    trials = finished(study, by_optimizer(20, 40))[:ended]
    draw(study.report(trials), tmp_path / "grokking.png", "job")
    assert (tmp_path / "grokking.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_is_drawn_from_its_curve(tmp_path: Path) -> None:
    metrics = {"accuracy": 0.5, "train_accuracy": 1.0, "loss": 2.0, "train_rows_loss": 0.1}
    curve = [Measurement(step, step, 1.0, 1.0, metrics) for step in (1, 2)]
    draw_run(curve, tmp_path / "run.png")
    assert (tmp_path / "run.png").stat().st_size > 10_000
    with pytest.raises(Conflict, match="not been evaluated"):
        draw_run([], tmp_path / "none.png")
