"""The repository itself: docstrings, links and references, dependencies, versions."""

import ast
import itertools
import re
import tomllib
from collections.abc import Iterator
from datetime import date
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import telescope

ROOT = Path(__file__).parent.parent
PACKAGES = ("telescope", "workers", "api", "migrations")
MODULES = sorted(
    path for name in (*PACKAGES, "benchmarks", "surfaces") for path in (ROOT / name).rglob("*.py")
)
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)#\s]+)")
NAMED_FILE = re.compile(
    r"`((?:[\w*.-]+/)+[\w*.-]+\.(?:py|md|yml|yaml|toml|txt|png|html))(?:::[\w.]+)?`"
)
NAMED_THING = re.compile(r"`([\w/]+\.py)::([\w.]+)`")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def relative_path(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=relative_path)
def test_every_module_begins_with_its_docstring(path: Path) -> None:
    text = path.read_text()
    assert text.lstrip().startswith(('"""', 'r"""')), "the first line is no docstring"
    assert ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize(
    "path",
    [path for name in PACKAGES[:3] for path in (ROOT / name).rglob("__init__.py")],
    ids=relative_path,
)
def test_every_package_lists_its_modules(path: Path) -> None:
    listed = ast.get_docstring(ast.parse(path.read_text())) or ""
    modules = {path.stem for path in path.parent.glob("*.py")} | {
        path.parent.name for path in path.parent.glob("*/__init__.py")
    }
    missing = {
        name for name in modules - {"__init__", "__main__"} if not re.search(rf"`{name}/?`", listed)
    }
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=relative_path)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    missing = [target for target in LINK.findall(text) if not (page.parent / target).exists()]
    missing += [name for name in NAMED_FILE.findall(text) if not list(ROOT.glob(name))]
    assert not missing


def names(tree: ast.Module) -> Iterator[str]:
    """Functions, classes, methods and constants of a module, methods as Class.method."""
    for node in tree.body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.ClassDef(name=name, body=body):
                yield name
                yield from (
                    f"{name}.{inner.name}" for inner in body if isinstance(inner, ast.FunctionDef)
                )
            case ast.Assign(targets=targets):
                yield from (target.id for target in targets if isinstance(target, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name


@pytest.mark.parametrize("page", PAGES, ids=relative_path)
def test_every_function_and_test_that_a_page_names_exists(page: Path) -> None:
    references = NAMED_THING.findall(page.read_text())
    missing = [
        f"{path}::{name}"
        for path, name in references
        if name not in names(ast.parse((ROOT / path).read_text()))
    ]
    assert not missing


def test_every_claim_of_the_paper_has_a_function_and_a_test() -> None:
    rows = [
        line.split(" | ")
        for line in (ROOT / "docs/paper.md").read_text().splitlines()
        if line.startswith("| ") and "::" in line
    ]
    assert len(rows) >= 10
    for claim, _, function, test in rows:
        assert NAMED_THING.search(function), claim
        assert any(path.startswith("tests/") for path, _ in NAMED_THING.findall(test)), claim


@pytest.mark.parametrize("page", PAGES, ids=relative_path)
def test_every_make_target_that_a_page_names_exists(page: Path) -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = page.read_text()
    code = "\n".join([*(body for _, body in FENCE.findall(text)), *re.findall(r"`[^`\n]+`", text)])
    # at the start of a command, not "to make up for" in what one prints
    assert set(re.findall(r"^(?:[`$;&] ?)?make (\w+)", code, re.MULTILINE)) <= targets


def test_the_readme_fits_its_limit() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_names_of_tests_can_be_scanned() -> None:
    paths = [path for folder in ("tests", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    named = [
        name for path in paths for name in re.findall(r"^def (test_\w+)", path.read_text(), re.M)
    ]
    assert len(named) > 1000
    assert not [name for name in named if len(name) > 90]


def test_texts_use_plain_words() -> None:
    words = re.compile(r"\b(mend|somebody|nobody|whoever|Likewise)\b")
    folders = (
        "telescope",
        "api",
        "workers",
        "migrations",
        "tests",
        "benchmarks",
        "surfaces",
        "docs",
    )
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    left_out = (ROOT / "docs/log", ROOT / "docs/log.md", ROOT / "tests/files", Path(__file__))
    texts = [
        path
        for path in [*paths, *ROOT.glob("*.md"), *ROOT.glob("*.toml")]
        if path.suffix in (".py", ".md", ".toml", ".yaml", ".yml")
        and not any(path.is_relative_to(place) for place in left_out)
    ]
    assert [of for of in texts if words.search(of.read_text())] == []


def test_every_direct_dependency_is_pinned_and_the_tests_run_on_the_pins() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = {
        pin.name.lower().replace("_", "-"): pin
        for line in lines
        if line and not line.startswith("#")
        for pin in [Requirement(line)]
    }
    extras = itertools.chain(*PROJECT["optional-dependencies"].values())
    for text in (*PROJECT["dependencies"], *extras):
        requirement = Requirement(text)
        if requirement.name == "telescope":  # the extras of `dev` name the others
            continue
        pin = pins[requirement.name.lower().replace("_", "-")]
        (exact,) = pin.specifier
        assert exact.operator == "=="
        assert requirement.specifier.contains(exact.version), text
        assert Version(version(requirement.name)).public == exact.version, (
            f"{requirement.name} is not the one that is pinned"
        )


def test_the_changelog_begins_with_this_version_and_its_dates_descend() -> None:
    titles = re.findall(r"^## (\S+) - (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    versions, dates = (
        [Version(version) for version, _ in titles],
        [date.fromisoformat(day) for _, day in titles],
    )
    assert versions[0] == Version(telescope.__version__)
    assert versions == sorted(versions, reverse=True)
    assert dates == sorted(dates, reverse=True)


def test_the_readme_names_the_wheel_of_this_version() -> None:
    (named,) = set(re.findall(r"telescope-(\S+?)-py3", (ROOT / "README.md").read_text()))
    assert named == telescope.__version__
