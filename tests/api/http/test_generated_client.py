"""A client generated from the OpenAPI document submits a job and reads a typed report."""

import importlib
import json
import re
import subprocess
import sys
import venv
from collections.abc import Iterator
from types import ModuleType

import httpx
import pytest

from tests.api.serving import Service, serving
from tests.needs import GENERATOR

pytestmark = pytest.mark.slow

JOB = {
    "kind": "telescope",
    "name": "tiny",
    "model": {
        "base_width": 16,
        "calibration_width": 32,
        "target_width": 64,
        "depth": 1,
        "head_dim": 8,
    },
    "data": {"corpus": "python-stdlib", "context": 16},
    "horizon": {"steps": 10, "batch_tokens": 64},
    "search": {"lr": {"low": 0.002, "high": 0.25, "points": 5}},
    "limits": {"max_base_runs": 40},
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture(scope="module")
def generated(
    service: Service, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ModuleType, str]]:
    """The package, and the output of its generator."""
    folder = tmp_path_factory.mktemp("client")
    document = folder / "openapi.json"
    document.write_text(httpx.get(f"{service.url}/openapi.json").text)
    venv.create(folder / "venv", with_pip=True)
    binaries = folder / "venv" / "bin"
    subprocess.run(
        [binaries / "python", "-m", "pip", "install", "--quiet", GENERATOR], check=True, timeout=280
    )
    command = [
        binaries / "openapi-python-client",
        "generate",
        "--path",
        document,
        "--meta",
        "none",
        "--output-path",
        folder / "generated",
    ]
    process = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stdout + process.stderr
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module("generated"), process.stdout + process.stderr
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.partition(".")[0] == "generated"]:
            del sys.modules[name]


def test_the_client_has_every_schema_and_every_body_except_yaml_and_csv(
    generated: tuple[ModuleType, str], service: Service
) -> None:
    _, output = generated
    warnings = [
        block
        for block in re.split(r"\n(?=WARNING|ERROR)", output)
        if block.startswith(("WARNING", "ERROR"))
    ]
    unexpected = [
        block
        for block in warnings
        if not re.search(r"content.type.*(yaml|csv)", block, re.IGNORECASE | re.DOTALL)
    ]
    assert unexpected == []
    schemas = httpx.get(f"{service.url}/openapi.json").json()["components"]["schemas"]
    models = importlib.import_module("generated.models")
    unions = {"Study", "Report", "Preview"}
    missing = [
        name
        for name, schema in schemas.items()
        if "properties" in schema and name not in unions and not hasattr(models, class_of(name))
    ]
    assert missing == []


def class_of(name: str) -> str:
    """The generator's class of a schema: Page_Job_ becomes PageJob."""
    return "".join(part[0].upper() + part[1:] for part in name.split("_") if part)


def test_a_job_is_submitted_and_its_report_is_typed(
    generated: tuple[ModuleType, str], service: Service
) -> None:
    package, _ = generated
    submit = importlib.import_module("generated.api.jobs.submit_v1_jobs_post")
    read = importlib.import_module("generated.api.jobs.job_v1_jobs_job_id_get")
    result = importlib.import_module("generated.api.results.result_v1_jobs_job_id_result_get")
    models = importlib.import_module("generated.models")
    with package.Client(service.url, timeout=60.0) as client:
        job = submit.sync(
            client=client, body=models.TelescopeQuestion.from_dict(json.loads(json.dumps(JOB)))
        )
        assert isinstance(job, models.JobDetail), job
        while read.sync(job.id, client=client).state.value not in ("SUCCEEDED", "FAILED"):
            assert service.process.poll() is None
        report = result.sync(job.id, client=client)
    assert isinstance(report, models.TelescopeReport), report
    assert report.kind == "telescope"
    assert report.final
    assert report.verdict in ("resolved", "unresolved", "unbracketed")
    assert report.ladders[0].hyperparameters["lr"].value > 0
