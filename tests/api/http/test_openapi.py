"""The OpenAPI document is complete and true, and no request that it permits ends in a 500."""

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
from api.http.app import create_app
from api.http.openapi import EXAMPLE
from api.settings import Settings
from api.store.engines import CoordinatorLock

EXAMPLES = Path(__file__).parents[3] / "examples"
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
    assert lock.acquire()  # as a coordinator does
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


def test_every_reference_leads_somewhere(document: Any) -> None:
    assert set(references(document)) <= {
        f"#/components/schemas/{name}" for name in document["components"]["schemas"]
    }


def test_every_error_is_documented_as_a_problem(document: Any) -> None:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    assert list(response["content"]) == ["application/problem+json"], (
                        method,
                        path,
                        status,
                    )


def test_the_body_of_a_job_has_the_studys_schema_which_its_example_fits(document: Any) -> None:
    body = document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]
    assert set(body) == {"application/json", "application/yaml"}
    assert body["application/json"]["examples"]["quickstart"]["value"] == EXAMPLE
    schema = body["application/json"]["schema"] | {"components": document["components"]}
    Draft202012Validator(schema).validate(EXAMPLE)
    wrong = json.loads(json.dumps(EXAMPLE)) | {"horizon": {"steps": 0, "batch_tokens": 512}}
    [refused] = Draft202012Validator(schema).iter_errors(
        wrong
    )  # by both kinds of study, by its own for one reason
    assert ["horizon", "steps"] in [list(error.path) for error in refused.context]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_packaged_example_fits_the_schema_of_a_job(document: Any, path: Path) -> None:
    schema = document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["application/yaml"][
        "schema"
    ]
    Draft202012Validator(schema | {"components": document["components"]}).validate(
        YAML(typ="safe").load(path)
    )


def test_no_request_that_the_document_allows_is_a_defect(app: Any) -> None:
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) == 24
    for operation in operations:
        send_samples(operation)


def send_samples(operation: Any) -> None:
    """Send a few requests to one operation; each response conforms to the document."""

    @given(case=operation.as_strategy())
    @settings(
        max_examples=5,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def answered(case: schemathesis.Case) -> None:
        case.validate_response(case.call(), checks=list(CHECKS))

    answered()
