"""Code exported for a user's own model, where telescope cannot be imported, trains it as telescope
does.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from telescope.errors import NotExportable
from telescope.export import document, megatron, torch_code
from telescope.export.final_run import FinalRun
from telescope.train.loop import step_runs
from telescope.train.run import TrainingRun
from tests.telescope.export.answers import run_of

STEPS, ROUNDING = 20, 1e-4  # as for Muon in test_torch_code
HUB = {
    "family": "module",
    "factory": "api.examples.huggingface:llama",
    "base_width": 16,
    "calibration_width": 32,
    "target_width": 64,
}
ALONE = """
import importlib.abc, importlib.util, json, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("telescope", "workers", "api"):
            raise ImportError(f"{name} is not here")

sys.meta_path.insert(0, Blocked())
import torch
torch.set_num_threads(1)
code, factory, batches, losses = sys.argv[1:]
spec = importlib.util.spec_from_file_location("exported", code)
exported = importlib.util.module_from_spec(spec)
sys.modules["exported"] = exported
spec.loader.exec_module(exported)
import huggingface
torch.manual_seed(0)
model = getattr(huggingface, factory)(64)
exported.rescale(model)
exported.configure(model)
optimizers = exported.build_optimizers(model)
schedulers = exported.build_schedulers(optimizers)
step = exported.train_step
found = [float(step(model, optimizers, schedulers, [batch])) for batch in torch.load(batches)]
open(losses, "w").write(json.dumps(found))
"""


def telescope_losses(run: FinalRun) -> tuple[list[Any], list[float]]:
    """Batches and losses of telescope's first steps."""
    trained = TrainingRun(run.spec)
    batches = [trained.batch(step) for step in range(STEPS)]
    return batches, [float(step_runs([trained])) for _ in range(STEPS)]


def alone(run: FinalRun, batches: list[Any], folder: Path, text: str) -> list[float]:
    """Losses of the exported code in a process without telescope."""
    import torch

    (folder / "exported.py").write_text(text)
    (folder / "alone.py").write_text(ALONE)
    torch.save(batches, folder / "batches.pt")
    factory = run.spec.model.factory.rpartition(":")[2]
    command = [
        sys.executable,
        str(folder / "alone.py"),
        str(folder / "exported.py"),
        factory,
        str(folder / "batches.pt"),
        str(folder / "losses"),
    ]
    examples = Path(__file__).parents[3] / "api" / "examples"
    subprocess.run(
        command,
        check=True,
        timeout=120,
        env={"PYTHONPATH": str(examples), "PATH": "", "OMP_NUM_THREADS": "1"},
    )
    losses: list[float] = json.loads((folder / "losses").read_text())
    return losses


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_exported_code_trains_a_llama_of_transformers_as_telescope_does(
    optimizer: Any, tmp_path: Path
) -> None:
    run = run_of(optimizer, HUB)
    batches, losses = telescope_losses(run)
    text = torch_code.module_text(run)
    assert alone(run, batches, tmp_path, text) == pytest.approx(losses, rel=ROUNDING)
    without = text.replace('"lm_head", "input", 0.25', '"lm_head", "input", 1.0')
    assert without != text
    assert alone(run, batches, tmp_path, without) != pytest.approx(losses, rel=1e-4)


def test_a_document_names_every_piece_that_is_orthogonalised() -> None:
    gpt2 = HUB | {
        "factory": "api.examples.huggingface:gpt2",
        "splits": {"*.c_attn.weight": [1, 1, 1]},
    }
    run = run_of("muon", gpt2)
    result = document.export_document(run)
    assert result.muon is not None
    fused = next(
        matrix
        for matrix in result.muon.matrices
        if matrix.name == "transformer.h.0.attn.c_attn.weight"
    )
    assert (fused.count, fused.shape, fused.update_scale) == (3, (64, 64), 1.0)
    up = next(
        matrix
        for matrix in result.muon.matrices
        if matrix.name == "transformer.h.0.mlp.c_fc.weight"
    )
    assert (up.count, up.shape, up.update_scale) == (1, (256, 64), 2.0)
    with pytest.raises(
        NotExportable,
        match=r"attn\.c_attn\.weight has 2 dimensions and holds 3 matrices.*tune without splits",
    ):
        torch_code.module_text(run)
    with pytest.raises(NotExportable, match="Megatron-LM builds its own models"):
        megatron.flags_text(run)


def test_a_stack_of_matrices_is_refused_without_advice_on_splits() -> None:
    run = run_of("muon", HUB | {"factory": "tests.telescope.awkward:experts"})
    with pytest.raises(NotExportable, match=r"middle\.up has 3 dimensions") as refused:
        torch_code.module_text(run)
    assert "splits" not in refused.value.message
