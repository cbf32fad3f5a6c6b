"""A real compilation in a separate process, and the records of compile times."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from telescope.train import compiled
from telescope.train.compiled import Graph
from tests.telescope.small import ADAMW, HORIZON, MODEL, MUON, trial

SCRIPT = """
import json
from dataclasses import replace

import torch
from torch._dynamo.utils import counters

from telescope.train import compiled, pack
from telescope.train.compiled import Graph
from telescope.train import train
from tests.telescope.small import ADAMW, HORIZON, MODEL, MUON, trial

torch.set_num_threads(1)
model = replace(MODEL, depth=1)
exact = replace(MUON, newton_schulz_dtype="float32")
horizon = replace(HORIZON, micro_batch_tokens=HORIZON.batch_tokens // 2)
gpt2 = replace(model, positions="learned", norm="layer", mlp="gelu", tied_embeddings=True)
packs = [
    [
        trial(ADAMW, model, horizon),
        trial(replace(ADAMW, lr=2 * ADAMW.lr, weight_decay=0.3), model, horizon, seed=1),
    ],
    [trial(exact, model, horizon), trial(exact, model, replace(horizon, decay="constant"), seed=2)],
    [trial(ADAMW, gpt2, horizon)],
]
expected = compiled.expected_seconds(Graph.of(packs[0][0]))
ready = compiled.ensure_compiled(Graph.of(packs[0][0]))
result = {
    "obstacle": compiled.obstacle(),
    "ready": ready,
    "expected": [
        expected,
        compiled.expected_seconds(Graph.of(packs[1][1])),
        compiled.expected_seconds(Graph.of(trial())),
    ],
    "curves": [
        [
            (
                progress.index,
                progress.measurement.step,
                *map(progress.measurement.metrics.get, ("train_loss", "loss")),
            )
            for specs in packs
            for progress in train(specs, losses=program)
        ]
        for program in (pack.losses, compiled.compiled_losses)
    ],
    "graphs": counters["stats"]["unique_graphs"],
}
print(json.dumps(result))
"""


@pytest.mark.slow  # the compiler takes half a minute; tests.needs asks for it
def test_compiled_curves_equal_eager_ones_to_rounding_with_one_graph_per_shape(
    tmp_path: Path,
) -> None:
    environment = os.environ | {
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path),
        "TELESCOPE_COMPILE": "auto",
    }
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=300
    )
    assert process.returncode == 0, process.stderr[-3000:]
    result = json.loads(process.stdout)
    assert (result["obstacle"], result["ready"]) == (None, True), process.stderr
    eager_points, compiled_points = result["curves"]
    for eager, fused in zip(eager_points, compiled_points, strict=True):
        assert eager[:2] == fused[:2]
        assert eager[2:] == pytest.approx(fused[2:], abs=2e-5)
    assert result["graphs"] == 2, "one for each architecture"
    first, cached, other_graph = result["expected"]
    assert (first, cached) == (compiled.FIRST_SECONDS, compiled.CACHED_SECONDS)
    assert other_graph not in (first, cached)  # the compile time of the first graph


def test_trials_that_differ_only_in_optimizer_values_share_a_graph() -> None:
    graph = Graph.of(trial())
    assert graph == Graph.of(
        trial(replace(ADAMW, lr=0.5, weight_decay=0.5), horizon=replace(HORIZON, steps=7), seed=3)
    )
    others = [
        trial(model=replace(MODEL, depth=MODEL.depth + 1)),
        trial(replace(MUON, parametrisation="standard")),
        trial(horizon=replace(HORIZON, batch_tokens=2 * HORIZON.batch_tokens)),
        trial(horizon=replace(HORIZON, micro_batch_tokens=HORIZON.batch_tokens // 2)),
    ]
    assert len({graph, *map(Graph.of, others)}) == 5
    assert len({Graph.of(other).record for other in others}) == 4


def test_a_new_graph_is_expected_to_take_as_long_as_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "cache_folder", lambda: tmp_path)
    graph = Graph.of(trial())
    assert compiled.expected_seconds(graph) == compiled.FIRST_SECONDS
    for name, seconds, at in (("old", 50.0, 1000), ("new", 17.0, 2000)):
        (tmp_path / f"{name}.json").write_text(json.dumps({"seconds": seconds}))
        os.utime(tmp_path / f"{name}.json", (at, at))
    assert compiled.expected_seconds(graph) == 17.0
    for damaged in ('{"seco', "{}", "[]", '{"seconds": null}'):
        (tmp_path / "damaged.json").write_text(damaged)
        assert compiled.expected_seconds(graph) == compiled.FIRST_SECONDS


def test_a_graph_in_the_cache_is_expected_to_take_little_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "cache_folder", lambda: tmp_path)
    graph = Graph.of(trial())
    graph.record.write_text(json.dumps({"seconds": 50.0}))
    assert compiled.expected_seconds(graph) == compiled.FIRST_CACHED_SECONDS


def test_after_a_failed_compilation_no_other_is_tried(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[object] = []

    def fail(models: object, windows: object) -> torch.Tensor:
        attempts.append(models)
        raise RuntimeError("no Python.h\nand so on")

    monkeypatch.setenv("TELESCOPE_COMPILE", "auto")
    monkeypatch.setattr(compiled, "compiled_losses", fail)
    monkeypatch.setattr(compiled, "_failures", [])
    monkeypatch.setattr("shutil.which", lambda compiler: compiler)
    graphs = [Graph.of(trial(model=replace(MODEL, depth=depth))) for depth in (8, 8, 9)]
    assert [compiled.ensure_compiled(graph) for graph in graphs] == [False] * 3
    compiled.ensure_compiled.cache_clear()
    assert len(attempts) == 1
    assert "is not compiled on this worker: RuntimeError: no Python.h (" in caplog.text


def test_a_graph_whose_model_cannot_be_built_is_not_compiled_but_others_may_be(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("no memory left")

    monkeypatch.setenv("TELESCOPE_COMPILE", "auto")
    monkeypatch.setattr(compiled, "build_model", fail)
    monkeypatch.setattr(compiled, "_failures", [])
    monkeypatch.setattr("shutil.which", lambda compiler: compiler)
    assert not compiled.ensure_compiled(Graph.of(trial(model=replace(MODEL, depth=10))))
    compiled.ensure_compiled.cache_clear()
    assert compiled.obstacle() is None
    assert "is not compiled on this worker: RuntimeError('no memory left')" in caplog.text


def test_a_compile_time_that_cannot_be_recorded_is_logged_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "cache_folder", lambda: tmp_path / "folder")
    graph = Graph.of(trial())
    compiled.record_seconds(graph, 12.0)
    (record,) = (tmp_path / "folder").iterdir()
    assert record == graph.record
    assert json.loads(record.read_text())["seconds"] == 12.0
    monkeypatch.setattr(compiled, "cache_folder", lambda: record / "below a file")
    compiled.record_seconds(graph, 12.0)
    assert "cannot be recorded" in caplog.text
