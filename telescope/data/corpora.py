"""The corpora that models can be trained on.

Two corpora are built in and need no download: `python-stdlib`, the source code of the running
interpreter's standard library, and `python-docs`, the docstrings of that code as prose. A user's
own corpus is a file or a folder, named by its path or registered under a name.

- `find(corpus)` resolves a job's `data.corpus`; `available()` lists the corpora that have a name;
  `register` gives a path a name.
- A `LocatedCorpus` yields its `documents()` in a fixed order. Its `fingerprint()` changes when a
  file of the corpus changes, and is computed without reading the files.
- `is_path` and `corpus_path` let a service decide which files a job may read.
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

# Names that python-stdlib leaves out: tests, which would be a third of the text; installed packages
# and configuration, which differ between machines.
OUTSIDE_STDLIB = re.compile(
    r"test|tests|idle_test|site-packages|dist-packages|config-.*|_sysconfigdata.*"
)
HIDDEN_NAMES = re.compile(r"\..*|__pycache__")


@dataclass(frozen=True)
class LocatedCorpus:
    """A corpus with its name and location; `path` is None for a built-in corpus."""

    name: str  # the name or path that a job gives
    path: Path | None
    text_field: str = "text"  # field of jsonl files or column of parquet files that holds the text

    @property
    def holds_tokens(self) -> bool:
        """True if the corpus consists of tokens rather than text."""
        return any(is_tokens(file) for _, file in self.files())

    def files(self) -> tuple[tuple[str, Path], ...]:
        """(name within the corpus, path) of each file, sorted. Raises InvalidInput if `path` cannot
        be read, or holds both token files and text."""
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
        """The training and the validation file if nanoGPT's scripts made the folder; otherwise all
        files. Raises InvalidInput if token files and text are mixed."""
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
        """The non-empty documents, always in the same order. Raises InvalidInput if a
        document cannot be read, or if there are none."""
        empty = True
        for document in _built_in_documents(self.name) if self.path is None else self._read():
            empty = False
            yield document
        if empty:
            message = f"{self.path or self.name} is empty; give a file or folder with text in it"
            raise InvalidInput.of(FIELD, message, self.name)

    def _read(self) -> Iterator[Document]:
        for name, file in self.files():
            try:
                yield from read_documents(file, name, self.text_field)
            except Unreadable as error:
                raise InvalidInput.of(FIELD, str(error), self.name) from error

    def fingerprint(self) -> str:
        """A text that changes with the path, size or modification time of a file of the corpus, and
        with the text field; costs one `stat` per file. Built-in corpora are looked at only once per
        process."""
        if self.path is None:
            return f"{self.name} {_stdlib_fingerprint()}"
        return f"{self.text_field} {fingerprint(tuple(file for _, file in self.files()))}"


def is_training(name: str) -> bool:
    """True for the training file of a split made by nanoGPT's scripts."""
    return name in ("train.bin", "train.uint32.bin")


def is_held_out(name: str) -> bool:
    """True for the validation file of a split made by nanoGPT's scripts."""
    return name in ("val.bin", "val.uint32.bin")


def find(corpus: str) -> LocatedCorpus:
    """The corpus that `data.corpus` names. Raises InvalidInput, with the closest names, if it is a
    name that no corpus has."""
    if is_path(corpus):
        return LocatedCorpus(corpus, absolute(corpus))
    if corpus in BUILT_IN:
        return LocatedCorpus(corpus, None)
    if (entry := _entry(corpus)).exists():
        return _load(entry)
    names = [corpus.name for corpus in available()]
    near = " or ".join(difflib.get_close_matches(corpus, names, n=3, cutoff=0.5))
    hint = f"did you mean {near}?" if near else f"known are {', '.join(names)};"
    message = (
        f"no corpus has this name; {hint} register one with `corpus add NAME PATH`, or write a "
        f"path, such as ./{corpus}"
    )
    raise InvalidInput.of(FIELD, message, corpus)


def is_path(corpus: str) -> bool:
    """True if `data.corpus` is a path: any text that does not have the form of a name."""
    return not NAME.fullmatch(corpus)


def corpus_path(corpus: str) -> Path | None:
    """The file or folder that a corpus is read from; None for a built-in corpus."""
    return find(corpus).path


def available() -> tuple[LocatedCorpus, ...]:
    """All corpora that have a name: built-in ones, then registered ones."""
    return (*(LocatedCorpus(name, None) for name in BUILT_IN), *registered())


def registered() -> list[LocatedCorpus]:
    return [_load(file) for file in sorted((home() / "corpora").glob("*.json"))]


def register(name: str, path: str | Path, text_field: str = "text") -> LocatedCorpus:
    """Register a path under a name. Raises InvalidInput if the name is not valid or is that of
    a built-in corpus, or if there is no first document that can be read; raises Conflict if the
    name is registered for another path or text field."""
    if not NAME.fullmatch(name):
        raise InvalidInput.of(
            "name", "must be 1 to 64 of a-z, 0-9, - and _, beginning with a letter or digit", name
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
        raise Conflict(
            f"corpus {name} is registered already, for {_load(file).path}; choose another name, "
            f"or delete {file}"
        )
    write_json(file, {"path": str(corpus.path), "text_field": text_field})
    return corpus


def _entry(name: str) -> Path:
    return home() / "corpora" / f"{name}.json"


def _load(file: Path) -> LocatedCorpus:
    entry = json.loads(file.read_text())
    return LocatedCorpus(file.stem, Path(entry["path"]), entry["text_field"])


def write_json(file: Path, value: object) -> None:
    """Write a JSON file atomically: a reader finds the complete old or new file, even if several
    processes write at once."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=file.parent, suffix=".tmp", delete=False) as draft:
        json.dump(value, draft)
    os.replace(draft.name, file)


def fingerprint(files: tuple[Path, ...]) -> str:
    """Digest of the files' paths, sizes and modification times."""
    stats = [(str(file), (stat := file.stat()).st_size, stat.st_mtime_ns) for file in files]
    return hashlib.sha256(repr(stats).encode()).hexdigest()[:32]


def _files_below(folder: Path, excluded: re.Pattern[str]) -> tuple[tuple[str, Path], ...]:
    """(relative name, path) of each file in a folder and its subfolders, sorted, without files and
    folders whose names match `excluded`."""
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
    """The docstrings of a Python module as prose, in source order; empty if there are none or the
    source does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about outdated syntax in the source
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
        if not isinstance(child, ast.expr):  # expressions are most of a tree and hold no docstrings
            yield from _docstrings(child)
