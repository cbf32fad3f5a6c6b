"""Where does a user's own model come from?

From a factory, a function `width -> torch.nn.Module` that a job names as `package.module:function`.
It is looked for where Python looks, and in the folders of TELESCOPE_FACTORY_PATH (by default the
one in which telescope was started). What it builds follows from code, so the hash of the code's
files is part of a trial's identity (`content`): of the whole package that it lies in, whatever that
imports besides.

Parts: `load` · `source`, `code` and `content`, of what it is written in.
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
PATH = "TELESCOPE_FACTORY_PATH"  # environment: folders, separated as in PATH

Factory = Callable[[int], nn.Module]


def load(name: str) -> Factory:
    """The factory of this name; InvalidInput where there is none."""
    module_name, _, function = name.partition(":")
    look_in_folders()
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a user's module can raise anything
        said = f"{type(error).__name__}: {error}"
        remedy = f"put its package where Python finds it, or its folder into {PATH}"
        raise InvalidInput.of(
            FIELD, f"module {module_name} cannot be imported ({said}); {remedy}", name
        ) from error
    found = getattr(module, function, None)
    if not callable(found):
        raise InvalidInput.of(
            FIELD,
            f"module {module_name} has no function {function}; write package.module:function",
            name,
        )
    return found  # type: ignore[no-any-return]


def look_in_folders() -> None:
    """Let Python import from the folders, after all others."""
    for folder in os.environ.get(PATH, os.getcwd()).split(os.pathsep):
        if folder and folder not in sys.path:
            sys.path.append(folder)


def source(name: str) -> Path:
    """The folder of the package, or the file of the module, that holds a factory's code;
    InvalidInput where there is none."""
    look_in_folders()
    root = re.split("[.:]", name)[0]
    found = importlib.util.find_spec(root)
    if found is None or not (found.origin or found.submodule_search_locations):
        raise InvalidInput.of(
            FIELD, f"there is no package {root}; put its folder into {PATH}", name
        )
    return Path(
        next(iter(found.submodule_search_locations or ()))
        if found.submodule_search_locations
        else str(found.origin)
    )


def code(patterns: Iterable[str]) -> tuple[Path, ...]:
    """What workers elsewhere must be sent to run these factories: all but what is installed there
    as telescope itself is."""
    installed = [
        Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib", "stdlib")
    ]
    places = dict.fromkeys(source(pattern) for pattern in patterns)
    return tuple(
        place
        for place in places
        if not any(place.resolve().is_relative_to(folder) for folder in installed)
    )


@cache
def content(name: str) -> str:
    """Hash of a factory's code, as this process found it first: names and bytes of its package's
    Python files."""
    place = source(name)
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place]
    hashed = hashlib.sha256()
    for file in files:
        hashed.update(
            f"{file.relative_to(place.parent).as_posix()}\0".encode() + file.read_bytes() + b"\0"
        )
    return hashed.hexdigest()[:32]


def require(name: str, expected: str) -> None:
    """Refuse code that is not what it was when the job was accepted."""
    if expected and content(name) != expected:
        raise FactoryLost(
            f"the code of {name} is not what it was when its job was accepted (hash {content(name)} now, {expected} then); "
            "restore it and start telescope anew, or submit the job again"
        )
