"""`telescope coordinates`: a table, a JSON document, a picture, an exit status."""

import json

import pytest
from typer.testing import CliRunner

from api.cli.main import app
from api.examples import EXAMPLES

JOB = """
kind: telescope
optimizer: [muon, adamw]
parametrisation: {parametrisation}
model:
  {{base_width: {base_width}, calibration_width: 32, target_width: 64, depth: 1, head_dim: 8,
    mlp_ratio: 2.0}}
data: {{corpus: python-stdlib, context: 32}}
horizon: {{steps: 60, batch_tokens: 256}}
search: {{lr: {{low: 0.008, high: 0.03, points: 5}}}}
"""


@pytest.fixture
def job(tmp_path):
    def write(parametrisation="mup", base_width=8):
        file = tmp_path / "job.yaml"
        file.write_text(JOB.format(parametrisation=parametrisation, base_width=base_width))
        return file

    return write


def telescope(*words):
    return CliRunner().invoke(app, list(map(str, words)))


def test_a_job_that_passes_prints_a_row_per_layer_and_exits_with_0(job):
    result = telescope("coordinates", job(), "--optimizer", "muon")
    assert result.exit_code == 0
    assert "muon: widths 8, 16, 32, 64; 3 seeds; 8 steps" in result.stdout
    assert "pass: over widths 8 to 64" in result.stdout
    rows = [line for line in result.stdout.splitlines() if line.startswith(("blocks.", "logits"))]
    assert len(rows) == 15
    assert "adamw" not in result.stdout


def test_a_job_that_fails_exits_with_1_and_has_a_cause_and_a_picture(job, tmp_path):
    result = telescope("coordinates", job("standard"), "--json", "--plot", tmp_path / "check.png")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert (document["passed"], document["failed"]) == (False, True)
    assert [ladder["optimizer"] for ladder in document["ladders"]] == ["muon", "adamw"]
    adamw = document["ladders"][1]
    assert adamw["verdict"] == "fail"
    assert "AdamW's lr for hidden matrices must be ~ 1/m, but is constant" in adamw["cause"]
    assert len(adamw["layers"][0]["sizes"]) == 4
    assert (tmp_path / "check.png").read_bytes().startswith(b"\x89PNG")


def test_too_few_widths_are_unresolved_which_is_no_failure(job):
    result = telescope("coordinates", job(base_width=32), "--optimizer", "muon")
    assert result.exit_code == 0
    # smaller widths are added if there are too few between base and target
    assert "muon: widths 8, 16, 32, 64" in result.stdout
    file = job(base_width=32)
    file.write_text(file.read_text().replace("head_dim: 8", "head_dim: 32"))
    result = telescope("coordinates", file)
    assert result.exit_code == 0
    assert "unresolved: there are only 2 widths up to the target (32, 64)" in result.stdout
    assert "An unresolved check would not stop a job" in result.stdout


def test_an_optimizer_that_the_job_does_not_have_is_refused(job):
    result = telescope("coordinates", job(), "--optimizer", "sgd")
    assert result.exit_code == 2
    assert "choose from muon, adamw" in result.stderr


def test_a_compute_time_job_has_no_coordinates_to_check():
    result = telescope("coordinates", EXAMPLES["compute_time"].path, "--json")
    assert result.exit_code == 2
    (problem,) = json.loads(result.stdout)["error"]["problems"]
    assert (problem["field"], problem["value"]) == ("kind", "compute_time")
