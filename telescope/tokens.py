"""How does a corpus become files of tokens, once?

`prepare(spec)` splits the corpus, tokenizes it and keeps the result under `TELESCOPE_HOME/tokens`:

    <content>/{train,validation}.bin, meta.json    little-endian uint16 or uint32; `content` is the hash of both sides
    prepared/<key>.json                            which content the sources have; `key` changes whenever a source file does

so that a second look costs one `stat` per source file. Tokens are written aside and renamed: processes may race, and the first
one wins. The split is by whole documents (`held_out_names`); a lone document is cut by position.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from telescope import corpora, tokenizer
from telescope.corpora import Corpus
from telescope.documents import Content
from telescope.errors import InvalidInput
from telescope.home import home
from telescope.spec import DataSpec
from telescope.tokenizer import Tokenizer

Side = Literal["train", "validation"]


@dataclass(frozen=True)
class Prepared:
    """What a corpus amounts to once it is tokens."""

    content: str
    vocab_size: int
    dtype: str
    train_tokens: int
    validation_tokens: int

    @property
    def folder(self) -> Path:
        """Where the tokens lie."""
        return _tokens_home() / self.content

    def map(self, side: Side) -> NDArray[Any]:
        """The tokens of one side, memory-mapped: (n,)."""
        return np.memmap(self.folder / f"{side}.bin", self.dtype, "r")


@dataclass(frozen=True)
class Split:
    """A corpus in two: whole documents held out, or the end of its only one."""

    corpus: Corpus
    fraction: float
    held_out: frozenset[str]  # names; empty for a lone document

    @classmethod
    def of(cls, corpus: Corpus, fraction: float) -> "Split":
        """The fixed split of a corpus."""
        names = [document.name for document in corpus.documents()]
        return cls(corpus, fraction, held_out_names(names, fraction) if len(names) > 1 else frozenset())

    def pieces(self) -> Iterator[tuple[Side, Content]]:
        """Everything in the corpus with its side, in order."""
        for document in self.corpus.documents():
            if self.held_out:
                yield "validation" if document.name in self.held_out else "train", document.content
            else:
                cut = len(document.content) - round(self.fraction * len(document.content))
                yield "train", document.content[:cut]
                yield "validation", document.content[cut:]

    def training_text(self) -> Iterator[str]:
        """What a tokenizer may learn from."""
        return (str(piece) for side, piece in self.pieces() if side == "train")


def held_out_names(names: Sequence[str], fraction: float) -> frozenset[str]:
    """The documents to hold out: those whose name hashes below the fraction, but at least one and never all.

    A side thus depends on a document's own name, and added text does not move what was there. A split that nanoGPT's scripts
    made (train.bin, val.bin) is kept.
    """
    if given := frozenset(filter(corpora.is_held_out, names)):
        return given
    hashed = {name: int.from_bytes(hashlib.sha256(os.fsencode(name)).digest()[:8]) / 2**64 for name in names}
    below = {name for name in names if hashed[name] < fraction} or {min(hashed, key=hashed.__getitem__)}
    return frozenset(below if len(below) < len(names) else below - {max(hashed, key=hashed.__getitem__)})


def prepare(spec: DataSpec) -> Prepared:
    """The tokens that the sources give in their present state, from the cache where they were prepared before."""
    corpus = corpora.find(spec.corpus)
    tokenizer.check(spec.tokenizer)
    remembered = _tokens_home() / "prepared" / f"{_key(corpus, spec)}.json"
    try:
        content = json.loads(remembered.read_text())
        return Prepared(**json.loads((_tokens_home() / content / "meta.json").read_text()))
    except FileNotFoundError:
        prepared = _tokenize(corpus, spec)
        corpora.write_json(remembered, prepared.content)
        return prepared


def _tokens_home() -> Path:
    return home() / "tokens"


def _key(corpus: Corpus, spec: DataSpec) -> str:
    """All that the tokens depend on."""
    path = tokenizer.path_of(spec.tokenizer)
    learned = corpora.fingerprint((path,)) if path else ""
    parts = (corpus.fingerprint(), spec.tokenizer, learned, spec.validation_fraction)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _tokenize(corpus: Corpus, spec: DataSpec) -> Prepared:
    """Write the tokens aside, and rename them to the name that their hash gives them."""
    split = Split.of(corpus, spec.validation_fraction)
    encoder = _tokenizer(split, spec.tokenizer)
    _tokens_home().mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_tokens_home(), prefix="draft-") as draft:
        prepared = _write(Path(draft, "new"), split, encoder)
        try:
            os.rename(Path(draft, "new"), prepared.folder)
        except OSError:
            if not (prepared.folder / "meta.json").exists():  # otherwise another process was first with the same tokens
                raise
    return prepared


def _tokenizer(split: Split, name: str) -> Tokenizer:
    if not split.corpus.holds_tokens:
        return tokenizer.build(name, split.training_text)
    if name != "bytes":
        raise InvalidInput.of(tokenizer.FIELD, "the corpus holds tokens already; leave the tokenizer out", name)
    return tokenizer.from_tokens(np.asarray(document.content) for document in split.corpus.documents())


def _write(folder: Path, split: Split, encoder: Tokenizer) -> Prepared:
    folder.mkdir()
    dtype = np.dtype("<u2" if encoder.vocab_size <= 2**16 else "<u4")
    tokens_of = {"train": 0, "validation": 0}
    hash_of = {side: hashlib.sha256() for side in tokens_of}
    with (folder / "train.bin").open("wb") as train, (folder / "validation.bin").open("wb") as validation:
        file_of = {"train": train, "validation": validation}
        for side, piece in split.pieces():
            tokens = np.ascontiguousarray(encoder.encode(piece), dtype)
            file_of[side].write(tokens.data)
            hash_of[side].update(tokens.data)
            tokens_of[side] += len(tokens)
    described = " ".join([str(encoder.vocab_size), dtype.str, *(hash_.hexdigest() for hash_ in hash_of.values())])
    content = hashlib.sha256(described.encode()).hexdigest()[:32]
    prepared = Prepared(content, encoder.vocab_size, dtype.str, tokens_of["train"], tokens_of["validation"])
    if encoder.json:
        (folder / "tokenizer.json").write_text(encoder.json)
    (folder / "meta.json").write_text(json.dumps(asdict(prepared)))
    return prepared
