"""A package that is not installed is refused with the command that installs it."""

import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from telescope import extras
from telescope.errors import MissingPackage

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def canonical(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


@pytest.mark.parametrize("name", extras.PACKAGES)
def test_the_modules_of_an_extra_are_those_of_its_requirements(name: str) -> None:
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    requirements = project["optional-dependencies"][name]
    required = {canonical(Requirement(requirement).name) for requirement in requirements}
    distributions = packages_distributions()
    provided = {
        canonical(distribution)
        for module in extras.PACKAGES[name]
        for distribution in distributions[module.split(".")[0]]
    }
    assert required <= provided, "an extra installs a package that is not checked"
    assert len(required) == len(extras.PACKAGES[name])


@pytest.mark.parametrize("name", extras.PACKAGES)
def test_an_extra_that_is_installed_is_accepted(name: str) -> None:
    extras.require_extra(name)


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(extras.PACKAGES, "plots", ("no_such_module", "no_such.part"))  # type: ignore
    words = r"no_such_module is not installed.*`plots`.*pip install '\.\[plots\]'"
    with pytest.raises(MissingPackage, match=words):
        extras.require_extra("plots")
    with pytest.raises(MissingPackage, match="no_such_module"), extras.extra("plots"):
        import no_such_module  # type: ignore[import-not-found]  # noqa: F401


def test_other_failed_imports_raise_their_own_error() -> None:
    with pytest.raises(ModuleNotFoundError) as failure, extras.extra("plots"):
        import no_such_module  # noqa: F401
    assert not isinstance(failure.value, MissingPackage)
