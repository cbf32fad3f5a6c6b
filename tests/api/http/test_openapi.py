"""The OpenAPI document is complete and correct, and no request that it allows ends in a 500."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

import migrations
from api.examples import EXAMPLES
from api.http.app import create_app
from api.http.openapi import EXAMPLE
from api.settings import Settings
from api.store.engines import CoordinatorLock

JOB_FILES = [example.path for example in EXAMPLES.values() if example.path.suffix == ".yaml"]
CHECKS = (
    not_a_server_error,
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    url = f"sqlite:///{tmp_path_factory.mktemp('service')}/telescope.db"
    migrations.upgrade(url)
    lock = CoordinatorLock(url)
    assert lock.acquire()  # as if a coordinator ran
    yield create_app(Settings(database_url=url))
    lock.release()


@pytest.fixture(scope="module")
def document(app: Any) -> Any:
    with TestClient(app) as service:
        assert service.get("/docs").status_code == 200
        return service.get("/openapi.json").json()


def references(value: Any) -> Iterator[str]:
    """Every $ref in a document."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def test_every_reference_has_a_target(document: Any) -> None:
    assert set(references(document)) <= {
        f"#/components/schemas/{name}" for name in document["components"]["schemas"]
    }


def test_every_error_is_documented_as_a_problem(document: Any) -> None:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    media = list(response["content"])
                    assert media == ["application/problem+json"], (method, path, status)


def test_the_example_of_the_document_fits_the_schema_of_a_job(document: Any) -> None:
    body = document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]
    assert set(body) == {"application/json", "application/yaml"}
    assert body["application/json"]["examples"]["quickstart"]["value"] == EXAMPLE
    schema = body["application/json"]["schema"] | {"components": document["components"]}
    Draft202012Validator(schema).validate(EXAMPLE)
    wrong = json.loads(json.dumps(EXAMPLE)) | {"horizon": {"steps": 0, "batch_tokens": 512}}
    [error] = Draft202012Validator(schema).iter_errors(wrong)  # no kind of study accepts it
    assert ["horizon", "steps"] in [list(reason.path) for reason in error.context]


@pytest.mark.parametrize("path", JOB_FILES, ids=lambda path: path.stem)
def test_every_packaged_example_fits_the_schema_of_a_job(document: Any, path: Path) -> None:
    body = document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]
    schema = body["application/yaml"]["schema"] | {"components": document["components"]}
    Draft202012Validator(schema).validate(YAML(typ="safe").load(path))


def test_no_request_that_the_document_allows_causes_a_server_error(app: Any) -> None:
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) == 25
    for operation in operations:
        send_samples(operation)


def send_samples(operation: Any) -> None:
    """Send a few requests to one operation; each response must conform to the document."""

    @given(case=operation.as_strategy())
    @settings(
        max_examples=5,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def send(case: schemathesis.Case) -> None:
        case.validate_response(case.call(), checks=list(CHECKS))

    send()
