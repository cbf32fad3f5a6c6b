"""The corpora that models can be trained on.

Two corpora are built in and need no download: `python-stdlib`, the source code of the running
interpreter's standard library, and `python-docs`, the docstrings of that code as prose. A user's
own corpus is a file or a folder. A job names it by its path, or by a name under which the path was
registered.

- `find(corpus)` returns the corpus with this name or path. `available()` lists the corpora that
  have a name. `register` gives a name to a path.
- A `LocatedCorpus` yields its `documents()` in a fixed order. Its `fingerprint()` shows whether its
  files have changed, and is computed without reading them.
"""

import ast
import difflib
import hashlib
import json
import os
import re
import sysconfig
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from telescope.data.documents import Document, Unreadable, absolute, is_tokens, read_documents
from telescope.errors import Conflict, InvalidInput
from telescope.home import home

FIELD = "data.corpus"
BUILT_IN = ("python-stdlib", "python-docs")
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")

# Names of files and folders that the built-in corpora leave out: tests, because they would be a
# large share of the text, and installed packages and configuration, because they differ between
# machines.
OUTSIDE_STDLIB = re.compile(
    r"test|tests|idle_test|site-packages|dist-packages|config-.*|_sysconfigdata.*"
)
HIDDEN_NAMES = re.compile(r"\..*|__pycache__")


@dataclass(frozen=True)
class LocatedCorpus:
    """A corpus with its name and location."""

    name: str  # the name or path that a job gives
    path: Path | None  # None for a built-in corpus
    text_field: str = "text"  # field of jsonl files or column of parquet files that holds the text

    @property
    def holds_tokens(self) -> bool:
        """True if the corpus consists of tokens rather than text."""
        return any(is_tokens(file) for _, file in self.files())

    def files(self) -> tuple[tuple[str, Path], ...]:
        """The name within the corpus and the path of each file, sorted by name. Raises InvalidInput
        if `path` does not exist or cannot be read, or if it mixes token files and text files."""
        if self.path is None:
            return _stdlib_files()
        try:
            if self.path.is_file():
                return (("", self.path),)
            if self.path.is_dir():
                return self._files_of_one_type(_files_below(self.path, HIDDEN_NAMES))
            reason = "is neither a file nor a folder" if self.path.exists() else "does not exist"
        except OSError as error:
            reason = f"cannot be read ({error.strerror})"
        message = f"{self.path} {reason}; give the path of a file or folder that can be read"
        raise InvalidInput.of(FIELD, message, self.name)

    def _files_of_one_type(
        self, files: tuple[tuple[str, Path], ...]
    ) -> tuple[tuple[str, Path], ...]:
        """Only the training file and the validation file, if there is one of each
        (`is_training`, `is_held_out`). Otherwise all files. Raises InvalidInput if these mix token
        files and text files."""
        pair = tuple((name, file) for name, file in files if is_training(name) or is_held_out(name))
        if len(pair) == 2 and sum(is_held_out(name) for name, _ in pair) == 1:
            return pair
        if len({is_tokens(file) for _, file in files}) > 1:
            message = (
                f"{self.path} holds .bin token files and text side by side; keep token files in a "
                "folder of their own"
            )
            raise InvalidInput.of(FIELD, message, self.name)
        return files

    def documents(self) -> Iterator[Document]:
        """The non-empty documents, always in the same order. Raises InvalidInput if a document
        cannot be read, or if no document has any content."""
        empty = True
        for document in _built_in_documents(self.name) if self.path is None else self._read():
            empty = False
            yield document
        if empty:
            message = f"{self.path or self.name} holds no text; give a file or folder with text"
            raise InvalidInput.of(FIELD, message, self.name)

    def _read(self) -> Iterator[Document]:
        for name, file in self.files():
            try:
                yield from read_documents(file, name, self.text_field)
            except Unreadable as error:
                raise InvalidInput.of(FIELD, str(error), self.name) from error

    def fingerprint(self) -> str:
        """A string that changes if the path, size or modification time of a file changes, or if
        `text_field` changes. No file is read. The files of built-in corpora are checked only once
        in each process."""
        if self.path is None:
            return f"{self.name} {_stdlib_fingerprint()}"
        return f"{self.text_field} {fingerprint(tuple(file for _, file in self.files()))}"


def is_training(name: str) -> bool:
    """True for the name of nanoGPT's training file, or of its variant with uint32 tokens."""
    return name in ("train.bin", "train.uint32.bin")


def is_held_out(name: str) -> bool:
    """True for the name of nanoGPT's validation file, or of its variant with uint32 tokens."""
    return name in ("val.bin", "val.uint32.bin")


def find(corpus: str) -> LocatedCorpus:
    """The corpus with this name or path. Raises InvalidInput if no corpus has this name; the
    message suggests the closest names, or lists all names if none is close."""
    if is_path(corpus):
        return LocatedCorpus(corpus, absolute(corpus))
    if corpus in BUILT_IN:
        return LocatedCorpus(corpus, None)
    if (entry := _entry(corpus)).exists():
        return _load(entry)
    names = [corpus.name for corpus in available()]
    near = " or ".join(difflib.get_close_matches(corpus, names, n=3, cutoff=0.5))
    hint = f"did you mean {near}? If not," if near else f"known are {', '.join(names)};"
    message = (
        f"no corpus has this name; {hint} register one with `telescope corpus add NAME PATH`, or "
        f"write a path, such as ./{corpus}"
    )
    raise InvalidInput.of(FIELD, message, corpus)


def is_path(corpus: str) -> bool:
    """True if `corpus` is a path. Every string that does not match NAME is a path."""
    return not NAME.fullmatch(corpus)


def corpus_path(corpus: str) -> Path | None:
    """The file or folder from which a corpus is read. None for a built-in corpus."""
    return find(corpus).path


def available() -> tuple[LocatedCorpus, ...]:
    """All corpora that have a name: first the built-in corpora, then the registered corpora."""
    return (*(LocatedCorpus(name, None) for name in BUILT_IN), *registered())


def registered() -> list[LocatedCorpus]:
    return [_load(file) for file in sorted((home() / "corpora").glob("*.json"))]


def register(name: str, path: str | Path, text_field: str = "text") -> LocatedCorpus:
    """Register a path under a name. Raises InvalidInput if the name is not valid or is that of a
    built-in corpus, or if the path has no documents or the first one cannot be read. Raises
    Conflict if the name is already registered for another path or another text field."""
    if not NAME.fullmatch(name):
        raise InvalidInput.of(
            "name",
            "must be 1 to 64 of the characters a-z, 0-9, - and _, and begin with a letter or digit",
            name,
        )
    if name in BUILT_IN:
        raise InvalidInput.of("name", "is the name of a built-in corpus; choose another", name)
    corpus = LocatedCorpus(name, absolute(path), text_field)
    try:
        next(corpus.documents())
    except InvalidInput as error:
        problems = (replace(problem, field="path", value=str(path)) for problem in error.problems)
        raise InvalidInput.because(tuple(problems)) from error
    file = _entry(name)
    if file.exists() and _load(file) != corpus:
        entry = _load(file)
        raise Conflict(
            f"corpus {name} is registered already, for {entry.path} with the text field "
            f"{entry.text_field}; choose another name, or delete {file}"
        )
    write_json(file, {"path": str(corpus.path), "text_field": text_field})
    return corpus


def _entry(name: str) -> Path:
    return home() / "corpora" / f"{name}.json"


def _load(file: Path) -> LocatedCorpus:
    entry = json.loads(file.read_text())
    return LocatedCorpus(file.stem, Path(entry["path"]), entry["text_field"])


def write_json(file: Path, value: object) -> None:
    """Write a JSON file atomically. A reader finds either the complete old file or the complete new
    file, even if several processes write at once."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=file.parent, suffix=".tmp", delete=False) as draft:
        json.dump(value, draft)
    os.replace(draft.name, file)


def fingerprint(files: tuple[Path, ...]) -> str:
    """A hash of the files' paths, sizes and modification times."""
    stats = [(str(file), (stat := file.stat()).st_size, stat.st_mtime_ns) for file in files]
    return hashlib.sha256(repr(stats).encode()).hexdigest()[:32]


def _files_below(folder: Path, excluded: re.Pattern[str]) -> tuple[tuple[str, Path], ...]:
    """The relative name and the path of each file in a folder and its subfolders, sorted by name.
    Files and folders whose whole names match `excluded` are left out."""
    files = []
    for parent, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if not excluded.fullmatch(name)]
        paths = [Path(parent, name) for name in names if not excluded.fullmatch(name)]
        files += [(path.relative_to(folder).as_posix(), path) for path in paths if path.is_file()]
    return tuple(sorted(files))


def _raise(error: OSError) -> None:
    raise error


@lru_cache(maxsize=1)
def _stdlib_files() -> tuple[tuple[str, Path], ...]:
    files = _files_below(Path(sysconfig.get_path("stdlib")), OUTSIDE_STDLIB)
    return tuple((name, file) for name, file in files if name.endswith(".py"))


@lru_cache(maxsize=1)
def _stdlib_fingerprint() -> str:
    return fingerprint(tuple(file for _, file in _stdlib_files()))


@lru_cache(maxsize=len(BUILT_IN))
def _built_in_documents(corpus: str) -> tuple[Document, ...]:
    sources = [
        document for name, file in _stdlib_files() for document in read_documents(file, name)
    ]
    if corpus == "python-stdlib":
        return tuple(sources)
    prose = (Document(source.name, docstrings(str(source.content))) for source in sources)
    return tuple(document for document in prose if document.content)


def docstrings(source: str) -> str:
    """The docstrings of a Python module as prose, in the order of the source. Empty if the module
    has no docstrings, or if its source cannot be parsed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # hides warnings about outdated syntax
            module = ast.parse(source)
    except SyntaxError:
        return ""
    return "\n\n".join(_docstrings(module))


def _docstrings(node: ast.AST) -> Iterator[str]:
    documented = isinstance(
        node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    )
    text = ast.get_docstring(node) if documented else None  # type: ignore[arg-type]
    if text:
        yield text
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.expr):  # most nodes are expressions, without docstrings
            yield from _docstrings(child)
