"""Factories of users' own models.

A factory is a function `width -> torch.nn.Module` that a job names as `package.module:function`. It
is imported from Python's own path, or from the folders of TELESCOPE_FACTORY_PATH (by default the
folder in which telescope was started). A factory's code determines the model, so the hash of the
code is part of a trial's identity (`content`). The hash covers all Python files of the top-level
package that holds the factory, but not other packages that these files import.

Parts: `load` · `source_path` and `code`, a factory's files · `content` and `require_unchanged`,
their hash.
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
PATH = "TELESCOPE_FACTORY_PATH"  # environment variable: folders separated by os.pathsep

Factory = Callable[[int], nn.Module]


def load(name: str) -> Factory:
    """The factory of this name. Raises InvalidInput if its module cannot be imported or has no
    function of this name."""
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
            f"module {module_name} has no function {function}; write package.module:function",
            name,
        )
    return factory  # type: ignore[no-any-return]


def _remedy(module_name: str, error: Exception) -> str:
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return "correct its code"
    if not f"{module_name}.".startswith(f"{error.name}."):
        return f"install {error.name} in telescope's environment, {sys.prefix}"
    return f"put its package where Python finds it, or add the folder that contains it to {PATH}"


def look_in_folders() -> None:
    """Append the folders of TELESCOPE_FACTORY_PATH to Python's import path."""
    for folder in os.environ.get(PATH, os.getcwd()).split(os.pathsep):
        if folder and folder not in sys.path:
            sys.path.append(folder)


def source_path(name: str) -> Path:
    """The folder of the top-level package, or the file of the module, that holds a factory's code.
    Raises InvalidInput if there is no such package or module."""
    look_in_folders()
    root = re.split("[.:]", name)[0]
    package = importlib.util.find_spec(root)
    if package is None or not (package.origin or package.submodule_search_locations):
        raise InvalidInput.of(
            FIELD, f"no package {root}; add the folder that contains it to {PATH}", name
        )
    if package.submodule_search_locations:
        return Path(next(iter(package.submodule_search_locations)))
    return Path(str(package.origin))


def code(patterns: Iterable[str]) -> tuple[Path, ...]:
    """Files and folders that must be sent to remote workers to run the factories that match these
    patterns: all but packages installed in the same environment as telescope."""
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
    """Hash of a factory's code, computed once per process from the names and bytes of all Python
    files in the factory's top-level package."""
    source = source_path(name)
    files = sorted(source.rglob("*.py")) if source.is_dir() else [source]
    code_hash = hashlib.sha256()
    for file in files:
        file_name = file.relative_to(source.parent).as_posix()
        code_hash.update(f"{file_name}\0".encode() + file.read_bytes() + b"\0")
    return code_hash.hexdigest()[:32]


def require_unchanged(name: str, expected: str) -> None:
    """Raise FactoryLost if the hash of the code is not `expected`; an empty `expected` matches."""
    if expected and content(name) != expected:
        raise FactoryLost(
            f"the code of {name} has changed since its job was accepted (hash {content(name)} "
            f"now, {expected} then); restore it and restart telescope, or submit the job again"
        )
