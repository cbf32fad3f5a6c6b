"""Reads the documents of a file. The end of the file's name determines its format.

| end of the name                       | documents                                            |
|---------------------------------------|------------------------------------------------------|
| `.jsonl`, `.jsonl.gz`, `.jsonl.zst`   | one per line; each line is a JSON object, and the    |
|                                       | text is the value of one field of the object         |
| `.parquet`                            | one per row; the text is the value in one column     |
| `.bin`                                | a single document of tokens: little-endian uint32 if |
|                                       | the name ends in `.uint32.bin`, otherwise            |
|                                       | little-endian uint16, as nanoGPT writes them         |
| any other                             | a single document of UTF-8 text                      |

Newlines are not converted, so that the same bytes give the same text on every machine. The
libraries for zstandard and parquet are imported only when a file in that format is read.
"""

import gzip
import io
import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telescope.extras import extra

Content = str | NDArray[Any]


class Unreadable(ValueError):
    """Raised if a file cannot be read in the format that its name implies. The message says what to
    do."""


@dataclass(frozen=True)
class Document:
    """A unit of a corpus, with a name that is unique within the corpus. If a corpus has several
    documents, each document is either used for training or held out, as a whole."""

    name: str
    content: Content  # text, or tokens (n,)


def read_documents(path: Path, name: str, text_field: str = "text") -> Iterator[Document]:
    """The non-empty documents of a file. `name` is the file's name within its corpus. Raises
    Unreadable if the file cannot be read, and MissingPackage if a library for its format is not
    installed."""
    try:
        for document in _read(path, name, text_field):
            if len(document.content):
                yield document
    except UnicodeDecodeError as error:
        raise Unreadable(
            f"{path} is not UTF-8 text (byte {error.start}); convert it to UTF-8, or give a file "
            "of another format: .jsonl(.gz/.zst), .parquet or .bin"
        ) from error
    except UnicodeEncodeError as error:
        raise Unreadable(
            f"{path} holds half a surrogate pair, which is not a character; remove this half, or "
            "add the other half"
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise Unreadable(
            f"{path} cannot be read ({error}); check the file and its permissions"
        ) from error


def _read(path: Path, name: str, text_field: str) -> Iterator[Document]:
    if is_tokens(path):
        yield Document(name, _tokens(path))
    elif path.name.endswith((".jsonl", ".jsonl.gz", ".jsonl.zst")):
        yield from _jsonl(path, name, text_field)
    elif path.name.endswith(".parquet"):
        yield from _parquet(path, name, text_field)
    else:
        yield Document(name, path.read_bytes().decode("utf-8"))


def absolute(path: str | Path) -> Path:
    """The absolute path, with ~ and .. resolved, so that another process finds the same file."""
    return Path(os.path.abspath(os.path.expanduser(path)))


def is_tokens(path: Path) -> bool:
    """True if the file holds tokens rather than text."""
    return path.name.endswith(".bin")


def _tokens(path: Path) -> NDArray[Any]:
    dtype = np.dtype("<u4" if path.name.endswith(".uint32.bin") else "<u2")
    size = path.stat().st_size
    if size % dtype.itemsize:
        raise Unreadable(
            f"{path} has {size} bytes, not a whole number of {dtype.name} tokens; write the "
            f"tokens as little-endian {dtype.name}, for instance with numpy's tofile()"
        )
    return np.memmap(path, dtype, "r") if size else np.empty(0, dtype)


def _jsonl(path: Path, name: str, text_field: str) -> Iterator[Document]:
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        try:
            decoded = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise Unreadable(
                f"line {number} of {path} is not UTF-8 text (byte {error.start} of the line); "
                "convert the file to UTF-8"
            ) from error
        try:
            record = json.loads(decoded)
        except (ValueError, RecursionError) as error:
            raise Unreadable(
                f"line {number} of {path} is not JSON ({error}); write one JSON object per line"
            ) from error
        text = record.get(text_field) if isinstance(record, dict) else None
        if not isinstance(text, str):
            contents = f"a value of type {type(record).__name__}"
            if isinstance(record, dict):
                contents = f"the fields {sorted(record)}"
            raise Unreadable(
                f"line {number} of {path} has no text in a field {text_field!r}; it holds "
                f"{contents}. Write an object with the text as a string in this field, or register "
                "the corpus with another field: `telescope corpus add --text-field FIELD`"
            )
        text.encode()  # raises for half a surrogate pair, which is valid in JSON but not in UTF-8
        yield Document(f"{name}:{number}", text)


def _lines(path: Path) -> Iterator[bytes]:
    if path.name.endswith(".gz"):
        with gzip.open(path, "rb") as lines:
            yield from lines
    elif path.name.endswith(".zst"):
        yield from _zst_lines(path)
    else:
        with path.open("rb") as lines:
            yield from lines


def _zst_lines(path: Path) -> Iterator[bytes]:
    with extra("service"):
        import zstandard  # imported here, for a fast start

    with path.open("rb") as file:
        reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        try:
            yield from io.BufferedReader(reader)
        except zstandard.ZstdError as error:
            raise Unreadable(f"{path} is not zstandard ({error}); compress it again") from error


def _parquet(path: Path, name: str, text_field: str) -> Iterator[Document]:
    with extra("service"):
        import pyarrow.parquet  # imported here, for a fast start

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            columns = file.schema_arrow.names
            if text_field not in columns:
                raise Unreadable(
                    f"{path} has no column {text_field!r}; its columns are {columns}. Rename the "
                    f"column that holds the text to {text_field!r}, or register the corpus with "
                    "the name of that column: `telescope corpus add --text-field COLUMN`"
                )
            column_type = file.schema_arrow.field(text_field).type
            types = pyarrow.types
            if not (types.is_string(column_type) or types.is_large_string(column_type)):
                raise Unreadable(
                    f"column {text_field!r} of {path} holds {column_type}, not text; register the "
                    "corpus with a column of strings: `telescope corpus add --text-field COLUMN`"
                )
            row = 0
            for batch in file.iter_batches(columns=[text_field]):
                for text in batch.column(0).to_pylist():
                    row += 1
                    yield Document(f"{name}:{row}", text or "")
    except pyarrow.ArrowException as error:
        raise Unreadable(f"{path} is not parquet ({error}); write it again") from error
