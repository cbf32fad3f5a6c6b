"""Factories of users' own models.

A *factory* is a function that takes a width and returns a `torch.nn.Module`. A job names the
factory as `package.module:function`. telescope looks for the module in Python's import path first,
then in the folders that the environment variable TELESCOPE_FACTORY_PATH lists. If the variable is
not set, telescope looks in the current folder instead.

The code of a factory determines the model, so the hash of the code is part of a trial's identity.
`content` computes the hash. The hash covers all Python files of the top-level package that contains
the factory, or only the file of the factory's module if the module belongs to no package. It does
not cover other packages that these files import.
"""

import hashlib
import importlib
import importlib.util
import os
import re
import sys
import sysconfig
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

from torch import nn

from telescope.errors import FactoryLost, InvalidInput

FIELD = "model.factory"
# name of the environment variable that lists folders, separated by os.pathsep
PATH = "TELESCOPE_FACTORY_PATH"

Factory = Callable[[int], nn.Module]


def load(name: str) -> Factory:
    """Import the factory with this name. Raises InvalidInput if its module cannot be imported, or
    if the module has no function with the factory's name."""
    module_name, _, function = name.partition(":")
    look_in_folders()
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a user's module can raise anything
        reason = f"{type(error).__name__}: {error}"
        raise InvalidInput.of(
            FIELD,
            f"module {module_name} cannot be imported ({reason}); {_remedy(module_name, error)}",
            name,
        ) from error
    factory = getattr(module, function, None)
    if not callable(factory):
        raise InvalidInput.of(
            FIELD,
            f"module {module_name} has no function {function}; name a function or class of the "
            "module, as package.module:function",
            name,
        )
    return factory  # type: ignore[no-any-return]


def _remedy(module_name: str, error: Exception) -> str:
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return "correct its code, or provide what the code needs"
    if not f"{module_name}.".startswith(f"{error.name}."):
        return (
            f"install {error.name} in telescope's environment, {sys.prefix}; if it is your own "
            f"code, correct the name, or {_add_to_path('the code')}"
        )
    root = module_name.partition(".")[0]
    return f"correct the name, or {_add_to_path(root)}"


def _add_to_path(name: str) -> str:
    """The advice to add the folder of a package or module to TELESCOPE_FACTORY_PATH. It also states
    the variable's default, because a variable that is set replaces the default."""
    return f"add the folder that contains {name} to {PATH} (which defaults to the current folder)"


def look_in_folders() -> None:
    """Append the folders that TELESCOPE_FACTORY_PATH lists to Python's import path. If the variable
    is not set, append the current folder instead."""
    for folder in os.environ.get(PATH, os.getcwd()).split(os.pathsep):
        if folder and folder not in sys.path:
            sys.path.append(folder)


def source_path(name: str) -> Path:
    """The path of a factory's code: the folder of its top-level package, or the file of its module
    if the module belongs to no package. Raises InvalidInput if Python does not find the package or
    module."""
    look_in_folders()
    root = re.split("[.:]", name)[0]
    package = importlib.util.find_spec(root)
    if package is None or not (package.origin or package.submodule_search_locations):
        raise InvalidInput.of(
            FIELD,
            f"there is no package or module {root}; correct the name, or {_add_to_path(root)}",
            name,
        )
    if package.submodule_search_locations:
        return Path(next(iter(package.submodule_search_locations)))
    return Path(str(package.origin))


def code(patterns: Iterable[str]) -> tuple[Path, ...]:
    """The files and folders that remote workers need to run the factories that match these
    patterns. Packages in the Python environment in which telescope is installed are left out, since
    remote workers have them."""
    installed = [
        Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib", "stdlib")
    ]
    paths = dict.fromkeys(source_path(pattern) for pattern in patterns)
    return tuple(
        path
        for path in paths
        if not any(path.resolve().is_relative_to(folder) for folder in installed)
    )


@cache
def content(name: str) -> str:
    """The hash of the names and bytes of all Python files in a factory's top-level package, or of
    the factory's file if the file belongs to no package. The hash is computed once per process."""
    source = source_path(name)
    files = sorted(source.rglob("*.py")) if source.is_dir() else [source]
    code_hash = hashlib.sha256()
    for file in files:
        file_name = file.relative_to(source.parent).as_posix()
        code_hash.update(f"{file_name}\0".encode() + file.read_bytes() + b"\0")
    return code_hash.hexdigest()[:32]


def require_unchanged(name: str, expected: str) -> None:
    """Raise FactoryLost if the hash of the code is not `expected`. An empty `expected` matches any
    code."""
    if expected and content(name) != expected:
        raise FactoryLost(
            f"the code of {name} has changed since its job was accepted (hash {content(name)} "
            f"now, {expected} then); restore the code and restart telescope, or restart telescope "
            "and submit the job again"
        )
