"""Which corpora and factories a job may name over HTTP.

Whoever can reach the port may name files of the machine that telescope runs on, so a path is let in only under the folders
that the operator lists in TELESCOPE_DATA_ROOTS (`require_open`); names of corpora always are. A factory of models is code,
run only where the operator lists it in TELESCOPE_FACTORIES (`require_factories`).
"""

import fnmatch
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from telescope.data import corpora, tokenizer
from telescope.errors import InvalidInput, Problem
from telescope.trials.data import DataSpec


def require_open(texts: Mapping[str, DataSpec], roots: Sequence[Path]) -> None:
    """Raise InvalidInput for each path, in data by their field, that the operator did not open; names of corpora and tokenizers pass."""
    problems = []
    for field, data in texts.items():
        for part in data.parts:
            if corpora.is_path(part.corpus) and not is_open(part.corpus, roots):
                names = ", ".join(corpus.name for corpus in corpora.available())
                problems.append(Problem(f"{field}.corpus", f"{remedy(roots)}; or name a corpus: {names}", part.corpus))
        if tokenizer.path_of(data.tokenizer) and not is_open(data.tokenizer, roots):
            problems.append(Problem(f"{field}.tokenizer", f"{remedy(roots)}; or use bytes, or bpe-N such as bpe-4096", data.tokenizer))
    if problems:
        raise InvalidInput.because(tuple(problems))


def require_factories(document: Any, patterns: Sequence[str], path: str = "") -> None:
    """Raise InvalidInput for a factory that the operator did not list, wherever a document names one: before its code is imported."""
    children = document.items() if isinstance(document, Mapping) else enumerate(document) if isinstance(document, list) else ()
    for key, value in children:
        field = f"{path}.{key}".lstrip(".")
        if key == "factory" and isinstance(value, str) and not any(fnmatch.fnmatchcase(value, pattern) for pattern in patterns):
            listed = f"it runs {', '.join(patterns)}" if patterns else "it runs none"
            message = f"this server does not run this factory ({listed}); have its operator list it in TELESCOPE_FACTORIES"
            raise InvalidInput.of(field, message, value)
        require_factories(value, patterns, field)


def is_open(path: str, roots: Sequence[Path]) -> bool:
    """Whether the path, symbolic links followed, lies under one of the roots."""
    try:
        real = Path(path).expanduser().resolve()
    except (OSError, RuntimeError, ValueError):  # too long a name, a loop of links, no such user
        return False
    return any(real.is_relative_to(root.resolve()) for root in roots)


def remedy(roots: Sequence[Path]) -> str:
    """What to do about a path that is not open."""
    if roots:
        return f"over HTTP a path must lie under {', '.join(map(str, roots))} (the server's TELESCOPE_DATA_ROOTS); move it there"
    return "this server reads no paths sent over HTTP; have its operator list the folder in TELESCOPE_DATA_ROOTS"
