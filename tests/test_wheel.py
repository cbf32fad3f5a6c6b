"""The wheel in a separate environment: first bare, then with the extras of a service.

The environment is installed once with the pinned versions. Its processes see neither the
repository nor the settings of this process.
"""

import json
import os
import subprocess
import sys
import time
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

from api.examples import EXAMPLES
from telescope.train import train_one
from tests.telescope.small import trial
from tests.test_project import PACKAGES, ROOT

TRAIN = """
import telescope.train
from telescope.data import batches
from telescope.trials import data, horizon, model, optimizer, spec

last = None
for last in telescope.train.train_one(spec.TrialSpec(
    model=model.ModelSpec(width=32, base_width=16, depth=1, head_dim=8, mlp_ratio=2.0),
    optimizer=optimizer.OptimizerSpec(name="muon", lr=0.03, weight_decay=0.1),
    data=batches.resolve(data.DataSpec(corpus="python-stdlib", context=32)),
    horizon=horizon.HorizonSpec(steps=12, batch_tokens=128, evaluation_tokens=512, record_every=3),
)):
    pass
print(telescope.__file__, last.metrics["loss"])
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@dataclass(frozen=True)
class Environment:
    """A virtual environment, and the folder in which its commands run."""

    folder: Path

    def install(self, requirement: str) -> None:
        pip = [self.folder / "bin" / "pip", "install", "--quiet"]
        command = [*pip, "-c", ROOT / "constraints.txt", requirement]
        process = subprocess.run(command, capture_output=True, text=True)
        assert process.returncode == 0, process.stderr

    def run(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        removed = ("PYTHON", "TELESCOPE_", "RAY_")
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(removed)
        }
        environment |= {"TELESCOPE_HOME": str(self.folder / "home"), "TELESCOPE_COMPILE": "never"}
        words = [self.folder / "bin" / command, *arguments]
        return subprocess.run(
            words, cwd=self.folder, env=environment, capture_output=True, text=True
        )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in (*PACKAGES, "pyproject.toml", "README.md", "LICENSE"):
        (source / name).symlink_to(ROOT / name)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "-w", folder]
    command = [sys.executable, "-m", "pip", "wheel", *options, source]
    subprocess.run(command, check=True, capture_output=True, text=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    environment = Environment(folder)
    environment.install(str(wheel))
    return environment


def test_the_bare_wheel_trains_a_trial_as_the_checkout_does(bare: Environment) -> None:
    process = bare.run("python", "-c", TRAIN)
    assert process.returncode == 0, process.stderr
    location, loss = process.stdout.split()
    assert Path(location).is_relative_to(bare.folder)
    *_, last = train_one(trial())
    assert float(loss) == pytest.approx(last.metrics["loss"], rel=1e-5)


def test_without_extras_the_command_prints_at_once_how_to_install_them(bare: Environment) -> None:
    for _ in range(2):  # the first run reads the files from the disk
        start = time.monotonic()
        process = bare.run("telescope")
        seconds = time.monotonic() - start
        assert (process.returncode, process.stdout) == (2, "")
        (line,) = process.stderr.splitlines()
        assert "pip install '.[service,ray]'" in line
    assert seconds < 1


@pytest.fixture(scope="module")
def full(bare: Environment, wheel: Path) -> Environment:
    """The environment with [service,ray]: no matplotlib, no PostgreSQL."""
    bare.install(f"{wheel}[service,ray]")
    return bare


def test_with_service_and_ray_the_packaged_quick_start_runs(full: Environment) -> None:
    (full.folder / "job.yaml").write_text(full.run("telescope", "examples", "quickstart").stdout)
    process = full.run("telescope", "run", "job.yaml", "--json")
    assert process.returncode in (0, 1), process.stderr[-3000:]
    report = json.loads(process.stdout)
    (ladder,) = report["ladders"]
    assert report["final"]
    assert process.returncode == (0 if report["verdict"] == "resolved" else 1)
    assert 0.01 < ladder["hyperparameters"]["lr"]["value"] < 0.2
    assert (full.folder / "home" / "telescope.db").exists()  # by the packaged migrations


def test_only_pictures_need_the_extra_plots(full: Environment) -> None:
    sweep = full.folder / "sweep.csv"
    sweep.write_bytes(EXAMPLES["sweep"].path.read_bytes())
    judged = full.run("telescope", "judge", str(sweep))
    assert judged.returncode in (0, 1), judged.stderr
    assert "Train width" in judged.stdout
    plotted = full.run("telescope", "judge", str(sweep), "--plot", "sweep.png")
    assert (plotted.returncode, plotted.stdout) == (2, "")
    assert "pip install '.[plots]'" in plotted.stderr
