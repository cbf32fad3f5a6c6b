"""Tests of the benchmarks of the GPU and of reading tokens.

The GPU's benchmark needs only torch, numpy and pydantic. Processes that read the same tokens share
one copy of them in memory.
"""

import os
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

from benchmarks.data import corpus, readings

ROOT = Path(__file__).parent.parent.parent
MEASURE = """
from benchmarks import gpu, steps
gpu.main()
steps.TURNS, steps.TURN_SECONDS = 2, 0.0
step = steps.measure_step(32, steps.OPTIMIZERS[0], 128, steps.Peaks(1e11, 1e12))
print(step.telescope_s > 0, steps.measure_update(32, 1, steps.OPTIMIZERS[1]).torch_s > 0)
"""


def install(name: str, site: Path) -> None:
    """Link an installed package and the packages that it requires into the folder `site`."""
    package = distribution(name)
    entries = {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}
    for entry in entries:
        if not (site / entry).exists():
            (site / entry).symlink_to(str(package.locate_file(entry)))
    for text in package.requires or ():
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            install(requirement.name, site)


def test_the_accelerators_benchmark_runs_with_torch_numpy_and_pydantic_alone(
    tmp_path: Path,
) -> None:
    for name in ("torch", "numpy", "pydantic"):
        install(name, tmp_path)
    assert not (tmp_path / "jaxtyping").exists()
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{tmp_path}", "CUDA_VISIBLE_DEVICES": ""}
    # -S hides the packages that are installed for this interpreter
    command = [sys.executable, "-S", "-c", MEASURE]
    process = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines() == ["no accelerator: not measured", "True True"]


def test_processes_that_read_the_same_tokens_share_one_copy() -> None:
    tokens = 10 * 10**6
    corpus_bytes, training_bytes = 2 * tokens, 0.9 * 2 * tokens
    with corpus(tokens) as spec:
        measurements = readings(spec, 2)
    for reading in measurements:
        assert reading.shared_bytes > 0.8 * training_bytes
        assert reading.private_bytes < 0.2 * corpus_bytes
