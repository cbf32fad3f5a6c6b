"""The references under docs/reference are current and complete, and their examples are valid."""

import re
from pathlib import Path

import pytest

from api.settings import Settings
from telescope.studies import registry
from tests.docs import reference
from tests.docs.blocks import OWN_MODEL

SOURCES = [
    path
    for name in ("telescope", "workers", "api")
    for path in (Path(__file__).parents[2] / name).rglob("*.py")
]
INTERNAL = {"TELESCOPE_SUPERVISOR", "TELESCOPE_LOCAL_RAY"}  # set by telescope for its own processes


@pytest.mark.parametrize("name", reference.pages())
def test_a_reference_is_what_the_code_says(name: str) -> None:
    written = (reference.FOLDER / name).read_text()
    assert written == reference.pages()[name], "write it again: python -m tests.docs.reference"


def test_every_field_has_a_description() -> None:
    undescribed = [
        f"{kind} {block} {field}"
        for kind, block, field, schema in reference.fields()
        if not schema.get("description")
    ]
    assert not undescribed


@pytest.mark.parametrize("document", reference.DOCUMENTS, ids=lambda document: document["name"])
def test_the_examples_of_fields_stand_in_valid_jobs(
    document: dict, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "mymodels.py").write_text(OWN_MODEL)
    monkeypatch.setenv("TELESCOPE_FACTORY_PATH", str(tmp_path))
    registry.parse(document)


def test_every_example_of_a_setting_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in reference.SETTINGS.items():
        monkeypatch.setenv(f"TELESCOPE_{name.upper()}", value)
    settings = Settings()
    assert settings.model_fields_set == set(Settings.model_fields)


def test_every_environment_variable_of_the_code_is_in_the_reference() -> None:
    named = {
        name
        for path in SOURCES
        for name in re.findall(r"TELESCOPE_[A-Z]+(?:_[A-Z]+)*\b", path.read_text())
    }
    assert named - INTERNAL <= set(re.findall(r"TELESCOPE_[A-Z_]+", reference.settings_page()))
