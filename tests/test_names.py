"""The glossary and the code agree: one meaning per name, and the same values in both."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import get_args

import pytest

from api.job_states import JobState, Verb
from telescope.parametrisation.roles import Role
from telescope.studies.compute_time.question import Reading
from telescope.studies.telescoping.evidence import Verdict
from telescope.trials.outcome import TrialState
from telescope.trials.types import MuonLrRule, Parametrisation, UpdateScale, WeightDecayRule
from workers.interface import Executor

ROOT = Path(__file__).parent.parent
GLOSSARY = (ROOT / "docs/glossary.md").read_text()
# words in backticks in the rows of options that are fields, not values
FIELDS = {"lr", "weight_decay"}
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", GLOSSARY, re.MULTILINE | re.DOTALL))


def rows(section: str) -> Iterator[list[str]]:
    """The cells of a section's tables, without their titles."""
    for line in SECTIONS[section].splitlines():
        if line.startswith("| ") and not line.startswith(
            ("| term", "| names", "| of a job", "| role")
        ):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def row(term: str) -> str:
    """The line that explains a term."""
    (line,) = (line for line in GLOSSARY.splitlines() if line.startswith(f"| {term} |"))
    return line


def names(tree: ast.Module) -> Iterator[str]:
    """The classes, functions and types that a module defines."""
    for node in tree.body:
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                yield name
            case ast.AsyncFunctionDef(name=name):
                yield name
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                if re.fullmatch(r"[A-Z]\w*[a-z]\w*", name):  # not a constant
                    yield name


def definitions() -> dict[str, list[str]]:
    """The modules that define each public class, function or type."""
    modules: dict[str, list[str]] = defaultdict(list)
    for package in ("telescope", "api", "workers", "migrations"):
        for path in sorted((ROOT / package).rglob("*.py")):
            if "versions" in path.parts:  # each migration has an `upgrade` and a `downgrade`
                continue
            for name in names(ast.parse(path.read_text())):
                modules[name].append(str(path.relative_to(ROOT)))
    return {name: where for name, where in modules.items() if not name.startswith("_")}


def test_a_public_name_is_defined_once_or_argued_for_in_the_glossary() -> None:
    shared = {name: where for name, where in definitions().items() if len(where) > 1}
    places = {
        name: re.findall(r"`([\w/.*]+)`", cells[1])
        for cells in rows("Names that several modules define")
        for name in re.findall(r"`(\w+)`", cells[0])
    }
    assert shared.keys() == places.keys()
    assert not {
        f"{module}: {name}"
        for name, modules in shared.items()
        for module in modules
        if not any(fnmatch(module, place) for place in places[name])
    }


@pytest.mark.parametrize(
    "section", [name for name in SECTIONS if "| in the code |" in SECTIONS[name]]
)
def test_the_place_that_a_term_names_exists_and_contains_the_term(section: str) -> None:
    for term, _, places in rows(section):
        paths = [ROOT / place for place in re.findall(r"`((?:\w+/)+[\w.]*)`", places)]
        assert paths, f"{term}: names no place in the code"
        for path in paths:
            files = [path] if path.is_file() else sorted(path.rglob("*.py"))
            text = "\n".join(file.read_text() for file in files).casefold()
            word = term.split(",")[0].casefold()
            assert any(form in text for form in (word, word.replace(" ", "_"))), f"{term}: {path}"


@pytest.mark.parametrize(
    ("term", "values"),
    [
        ("Verdict", get_args(Verdict)),
        ("reading", get_args(Reading)),
        ("update scale", get_args(UpdateScale)),
        ("lr rule", get_args(MuonLrRule)),
        ("weight-decay rule", get_args(WeightDecayRule)),
        ("verb", tuple(Verb)),
    ],
)
def test_the_values_of_an_option_are_those_of_the_code(term: str, values: tuple[str, ...]) -> None:
    missing = [value for value in values if not re.search(rf"\b{value}\b", row(term))]
    quoted = {word for word in re.findall(r"`([a-z_]+)`", row(term)) if word not in FIELDS}
    assert not missing
    assert quoted <= set(values)


def test_states_roles_and_parametrisations_are_those_of_the_code() -> None:
    jobs = {name for cells in rows("States") for name in re.findall(r"^([A-Z]+):", cells[0])}
    trials = {name for cells in rows("States") for name in re.findall(r"^([A-Z]+):", cells[-1])}
    assert (jobs, trials) == ({*JobState}, {*TrialState})
    assert {cells[0] for cells in rows("Parameters") if cells[0].isupper()} == {
        role.name for role in Role
    }
    explained = SECTIONS["Parameters"].split("Parametrisation:")[1].split("\n\n")[0]
    assert set(re.findall(r"`([\w-]+)`", explained)) >= {*get_args(Parametrisation)}


def test_the_methods_of_an_executor_are_those_of_the_code() -> None:
    methods = {
        name
        for name, value in vars(Executor).items()
        if callable(value) and not name.startswith("_")
    }
    assert set(re.findall(r"`(\w+)`", row("executor"))) == methods
