"""Blocks of the documentation: Python runs, jobs are valid, commands and requests exist."""

import copy
import re
import tempfile
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import typer
from ruamel.yaml import YAML

import migrations
from api.cli.main import app
from api.http.app import create_app
from api.settings import Settings
from telescope.errors import InvalidInput
from telescope.studies import registry
from tests.api.serving import serving
from tests.docs.blocks import OWN_MODEL, PAGES, ROOT, SHELL, Block, blocks, simple_commands

EVERY = tuple(blocks())
MOST_NOT_RUN = 2
SERVICE = "http://127.0.0.1:8765"  # as pages name it
USAGE = typer.BadParameter.__mro__[1]  # wrong usage of a command; typer has no public name for it
BASE = YAML(typ="safe").load(ROOT / "api" / "examples" / "quickstart.yaml")


def of_languages(*languages: str) -> list[Block]:
    return [block for block in EVERY if block.language in languages and block.reason is None]


def test_few_blocks_cannot_be_run() -> None:
    assert len([block for block in EVERY if block.reason]) <= MOST_NOT_RUN


# Python


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("service")) as service:
        yield service.url


PYTHON = [
    list(page_blocks)
    for _, page_blocks in groupby(of_languages("python"), key=lambda block: block.page)
]


@pytest.mark.parametrize("page", PYTHON, ids=lambda page_blocks: page_blocks[0].page.stem)
def test_the_python_of_a_page_runs_in_order(
    page: list[Block], url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(page, url)


def run(page: list[Block], url: str) -> None:
    """Run blocks one after the other, as a reader would who pastes them into one session."""
    namespace: dict[str, Any] = {"__name__": "page"}
    for block in page:
        exec(
            compile("\n" * block.line + block.text.replace(SERVICE, url), str(block), "exec"),
            namespace,
        )


def test_python_that_fails_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nvalue = 1\n```\ntext\n```python\nassert value == 2\n```\n")
    with pytest.raises(AssertionError):
        run(list(blocks(page)), "")


# Jobs


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mymodels.py").write_text(OWN_MODEL)
    monkeypatch.setenv("TELESCOPE_FACTORY_PATH", f"{tmp_path}:{ROOT / 'api' / 'examples'}")


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize("block", of_languages("yaml"), ids=str)
def test_every_job_of_a_page_is_valid(block: Block) -> None:
    registry.parse(job(block))


def job(block: Block) -> dict[str, Any]:
    """The job of a block: its own, or the quick start with the block's fields."""
    document = YAML(typ="safe").load(block.text)
    if "kind" in document:
        return document
    model = document.get("model", {})
    base = (
        BASE
        if model.get("family") != "module"
        else {name: value for name, value in BASE.items() if name != "model"}
    )
    return merged(base, document)


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    whole = copy.deepcopy(base)
    for name, value in changes.items():
        whole[name] = (
            merged(whole[name], value)
            if isinstance(value, dict) and isinstance(whole.get(name), dict)
            else value
        )
    return whole


def test_a_job_that_is_not_valid_is_found() -> None:
    with pytest.raises(InvalidInput):
        registry.parse(job(Block(PAGES[0], 1, "yaml", "optimiser: muon")))


# Commands and requests


@pytest.mark.parametrize("block", of_languages(*SHELL), ids=str)
def test_every_command_and_request_of_a_page_exists(block: Block) -> None:
    for command in block.commands:
        check(command)


def check(command: str) -> None:
    for words in simple_commands(command):
        match Path(words[0]).name:
            case "telescope":
                parse(words[1:])
            case "curl":
                assert request(words) in routes(), words
            case "python" | "python3" if words[1:2] == ["-m"]:
                path = ROOT / words[2].replace(".", "/")
                assert (
                    not words[2].startswith(("benchmarks", "tests"))
                    or path.with_suffix(".py").exists()
                ), words[2]


def parse(words: list[str]) -> None:
    """Parse a command of telescope without running it."""
    command, name = typer.main.get_command(app), "telescope"
    while subcommands := getattr(command, "commands", None):
        assert words, f"{name} needs a command"
        name, *words = words
        assert name in subcommands, name
        command = subcommands[name]
    if words != ["--help"]:
        command.make_context(name, list(words))


@cache
def routes() -> frozenset[tuple[str, str]]:
    """Method and path of each operation of the HTTP interface; parameters read JOB."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/telescope.db"
        migrations.upgrade(url)
        paths = create_app(Settings(database_url=url)).openapi()["paths"]
    return frozenset(
        (method.upper(), re.sub(r"\{[^}]*\}", "JOB", path))
        for path, each in paths.items()
        for method in each
    )


def request(words: list[str]) -> tuple[str, str]:
    (url,) = [word for word in words if word.startswith("http")]
    method = words[words.index("-X") + 1] if "-X" in words else "GET"
    return method, re.sub(r"^https?://[^/]*|\?.*", "", url)


@pytest.mark.parametrize(
    "command",
    [
        "telescope rum job.yaml",
        "telescope run job.yaml --polt a.png",
        "telescope export JOB",
        f"curl {SERVICE}/v1/job",
        f"curl -X POST {SERVICE}/v1/jobs/JOB",
        "python -m benchmarks.nothing",
    ],
)
def test_a_command_that_does_not_exist_is_found(command: str) -> None:
    with pytest.raises((AssertionError, USAGE)):
        check(command)
