"""The core, and what measures it on an accelerator, need three packages; tokens need one copy."""

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.data import corpus, readings

ROOT = Path(__file__).parent.parent.parent
ALONE = """
import sys
from importlib.machinery import PathFinder
THREE = {"torch", "torchgen", "numpy", "pydantic", "pydantic_core"}
THEIRS = {"annotated_types", "typing_extensions", "typing_inspection", "sympy", "mpmath", "filelock", "fsspec", "jinja2", "networkx"}
class Nothing:
    def find_spec(self, name, path=None, target=None):
        found = PathFinder.find_spec(name) if "." not in name and name not in THREE | THEIRS else None
        if found and "site-packages" in (found.origin or ""):
            raise ModuleNotFoundError(f"no module named {name}", name=name)
sys.meta_path.insert(0, Nothing())
from benchmarks import gpu, steps
gpu.main()
steps.TURNS, steps.TURN_SECONDS = 2, 0.0
print(steps.measure_step(32, steps.OPTIMIZERS[0], 128).telescope_s > 0, steps.measure_update(32, 1, steps.OPTIMIZERS[1]).torch_s > 0)
"""


def test_the_accelerators_benchmark_runs_with_torch_numpy_and_pydantic_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ALONE], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["no accelerator: not measured", "True True"]


def test_processes_that_read_the_same_tokens_share_one_copy() -> None:
    million = 10**6
    with corpus(10 * million) as spec:
        found = readings(spec, 2)
    for reading in found:
        assert reading.shared_bytes > 0.8 * 0.9 * 20 * million  # nine tenths of the corpus are its training half
        assert reading.private_bytes < 0.2 * 20 * million
