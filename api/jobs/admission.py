"""The corpora, tokenizers, tables and factories that a document sent over HTTP may name.

A document describes a job. It names a corpus (a text to train on) and a tokenizer, each by a name
or by a path, or it names the file of a table (the rows of an algorithmic task) by its path. Any
client that can reach the server's port could give the path of any file on the server's machine. A
path is therefore accepted only if it lies in one of the folders that the operator lists in
TELESCOPE_DATA_ROOTS (`require_open`). Names need no permission.

A document may also name a factory, which is a user's function that builds a model. A factory is
code, so the server runs it only if the operator lists it in TELESCOPE_FACTORIES
(`require_factories`).
"""

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from telescope.data import corpora, tokenizer
from telescope.errors import InvalidInput, Problem
from telescope.trials.data import AnyData


def require_open(data_by_field: Mapping[str, AnyData], roots: Sequence[Path]) -> None:
    """Raise InvalidInput if the path of a corpus, a tokenizer or a table lies outside the folders
    `roots`.

    `data_by_field` maps the name of each field that describes data, such as `data`, to the field's
    value.
    """
    problems = tuple(
        Problem(f"{section}.{field}", f"{path_remedy(roots)}{name_remedy(field)}", source)
        for section, data in data_by_field.items()
        for field, source in data.sources
        if is_source_path(field, source) and not is_open(source, roots)
    )
    if problems:
        raise InvalidInput.because(problems)


def is_source_path(field: str, source: str) -> bool:
    """True if a source of data is a path. A corpus or a tokenizer may be a name instead."""
    match field:
        case "corpus":
            return corpora.is_path(source)
        case "tokenizer":
            return tokenizer.tokenizer_path(source) is not None
    return True


def name_remedy(field: str) -> str:
    """Return the end of the message about a path: the names that may be given instead.

    The text is empty for a table, since a table from a file can only be given by its path.
    """
    match field:
        case "corpus":
            names = ", ".join(corpus.name for corpus in corpora.available())
            return f"; or give the name of a corpus: {names}"
        case "tokenizer":
            return "; or use bytes, or bpe-N such as bpe-4096"
    return ""


def require_factories(document: Any, patterns: Sequence[str], path: str = "") -> None:
    """Raise InvalidInput if a document names a factory that matches none of `patterns`.

    The document is searched at any depth. Call this function before any code that imports the
    factory. `path` is the field that holds `document`. It is empty if `document` is the user's
    whole document.
    """
    children: Iterable[tuple[Any, Any]] = ()
    if isinstance(document, Mapping):
        children = document.items()
    elif isinstance(document, list):
        children = enumerate(document)
    for key, value in children:
        field = f"{path}.{key}".lstrip(".")
        if key == "factory" and isinstance(value, str) and not is_listed(value, patterns):
            allowed = f"allowed: {', '.join(patterns)}" if patterns else "no factory is allowed"
            remedy = "ask the server's operator to add the factory to TELESCOPE_FACTORIES"
            message = f"this server does not allow this factory ({allowed}); {remedy}"
            raise InvalidInput.of(field, message, value)
        require_factories(value, patterns, field)


def is_listed(factory: str, patterns: Sequence[str]) -> bool:
    """True if one of the patterns, which may contain `*`, matches the name of the factory."""
    return any(fnmatch.fnmatchcase(factory, pattern) for pattern in patterns)


def is_open(path: str, roots: Sequence[Path]) -> bool:
    """True if the path, with symbolic links followed, is one of `roots` or lies below one."""
    try:
        real = Path(path).expanduser().resolve()
    except (OSError, RuntimeError, ValueError):  # for instance, the links form a loop
        return False
    return any(real.is_relative_to(root.resolve()) for root in roots)


def path_remedy(roots: Sequence[Path]) -> str:
    """Return the message about a path outside `roots`: what is wrong, and the remedy."""
    if roots:
        folders = ", ".join(map(str, roots))
        place = f"in one of these folders of the server: {folders}"
        return f"a path sent over HTTP must lie {place} (set by TELESCOPE_DATA_ROOTS)"
    remedy = "ask the server's operator to add the folder to TELESCOPE_DATA_ROOTS"
    return f"this server accepts no paths over HTTP; {remedy}"
