"""`telescope examples` lists and prints files that are valid without changes."""

import json
import sys

import pytest
from typer.testing import CliRunner

from api.cli import job_file
from api.cli.main import app
from api.examples import EXAMPLES, FOLDER
from telescope.studies import registry


def telescope(*words: str):
    return CliRunner().invoke(app, list(words))


def test_the_list_describes_every_file_of_the_folder() -> None:
    lines = [line.rstrip() for line in telescope("examples").stdout.splitlines()]
    assert all(len(line) <= 100 for line in lines)
    files = {file.name for file in FOLDER.iterdir() if file.is_file()} - {"__init__.py"}
    assert {example.file for example in EXAMPLES.values()} == files
    items = json.loads(telescope("examples", "--json").stdout)["items"]
    for item in items:
        (line,) = [line for line in lines if line.startswith(f"{item['name']} ")]
        assert item["file"] in line
        assert item["summary"] in line
    assert len(items) == len(files)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_printed_byte_for_byte(name: str) -> None:
    printed = telescope("examples", name)
    assert printed.exit_code == 0
    assert printed.stdout_bytes == EXAMPLES[name].path.read_bytes()
    assert json.loads(telescope("examples", name, "--json").stdout)["text"] == printed.stdout


@pytest.mark.parametrize(
    "name", [name for name, example in EXAMPLES.items() if example.file.endswith(".yaml")]
)
def test_every_example_job_is_valid_once_saved(name: str, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])  # telescope appends the current folder
    monkeypatch.chdir(tmp_path)
    for example in (name, "huggingface"):
        (tmp_path / EXAMPLES[example].file).write_bytes(telescope("examples", example).stdout_bytes)
    assert registry.parse(job_file.read_job_file(tmp_path / EXAMPLES[name].file))


def test_an_unknown_example_is_refused_with_the_list_of_names() -> None:
    result = telescope("examples", "quickstrat")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "must be one of: quickstart, architectures, mixtures," in result.stderr
    assert "(given: 'quickstrat')" in result.stderr
