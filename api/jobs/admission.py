"""The corpora and factories that a job may name over HTTP.

Any client that can reach the port could name any file of the server's machine. A path is therefore
admitted only below the folders that the operator lists in TELESCOPE_DATA_ROOTS (`require_open`);
names of corpora are always admitted. A model factory is code, and is run only if the operator lists
it in TELESCOPE_FACTORIES (`require_factories`).
"""

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from telescope.data import corpora, tokenizer
from telescope.errors import InvalidInput, Problem
from telescope.trials.data import DataSpec


def require_open(data_by_field: Mapping[str, DataSpec], roots: Sequence[Path]) -> None:
    """Raise InvalidInput if a corpus or a tokenizer is a path outside `roots`.

    `data_by_field` maps fields of the document, such as `data`, to their values.
    """
    problems = []
    for field, data in data_by_field.items():
        for part in data.parts:
            if corpora.is_path(part.corpus) and not is_open(part.corpus, roots):
                names = ", ".join(corpus.name for corpus in corpora.available())
                message = f"{path_remedy(roots)}; or name a corpus: {names}"
                problems.append(Problem(f"{field}.corpus", message, part.corpus))
        if tokenizer.tokenizer_path(data.tokenizer) and not is_open(data.tokenizer, roots):
            message = f"{path_remedy(roots)}; or use bytes, or bpe-N such as bpe-4096"
            problems.append(Problem(f"{field}.tokenizer", message, data.tokenizer))
    if problems:
        raise InvalidInput.because(tuple(problems))


def require_factories(document: Any, patterns: Sequence[str], path: str = "") -> None:
    """Raise InvalidInput if a document names, at any depth, a factory that is not in `patterns`.

    The check must precede the import of a factory's code. `path` is the field that holds
    `document`; empty for a whole document.
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
    """True if one of the operator's patterns matches the factory."""
    return any(fnmatch.fnmatchcase(factory, pattern) for pattern in patterns)


def is_open(path: str, roots: Sequence[Path]) -> bool:
    """True if the path, after following symbolic links, lies below one of the roots."""
    try:
        real = Path(path).expanduser().resolve()
    except (OSError, RuntimeError, ValueError):  # a name too long, a loop of links, no such user
        return False
    return any(real.is_relative_to(root.resolve()) for root in roots)


def path_remedy(roots: Sequence[Path]) -> str:
    """Describe what is wrong with a path outside the roots, and the remedy."""
    if roots:
        folders = ", ".join(map(str, roots))
        place = f"below one of these folders of the server: {folders}"
        return f"a path sent over HTTP must lie {place} (set by TELESCOPE_DATA_ROOTS)"
    remedy = "ask the server's operator to add the folder to TELESCOPE_DATA_ROOTS"
    return f"this server accepts no paths over HTTP; {remedy}"
