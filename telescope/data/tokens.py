"""Token files, which hold a corpus that was split and tokenized.

`prepare_tokens(spec)` splits each corpus of the spec into a training side and a validation side,
tokenizes both sides, and stores these files under `TELESCOPE_HOME/tokens`:

    <content>/{train,validation}.bin    little-endian uint16 or uint32; `content` is a hash of
                                        both files and of the size of the vocabulary
    <content>/meta.json                 the fields of `Prepared`
    <content>/tokenizer.json            the tokenizer; no file for bytes and for corpora of tokens
    prepared/<key>.json                 the `content` of a corpus; `key` is `Sources.key`

A second call for the same corpora, tokenizer and validation fraction finds these files, and reads
no text. Tokens are written to a temporary folder, which is then renamed. So several processes may
prepare the same corpus at once, and the first to finish provides the files. The split holds out
whole documents for validation (`held_out_names`). If a corpus has a single document, the end of
this document is held out.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from telescope.data import corpora, tokenizer
from telescope.data.corpora import LocatedCorpus
from telescope.data.documents import Content
from telescope.data.tokenizer import Tokenizer
from telescope.errors import InvalidInput
from telescope.home import home
from telescope.trials.data import DataSpec

SplitSide = Literal["train", "validation"]


@dataclass(frozen=True)
class Prepared:
    """A tokenized corpus, whose tokens are in files."""

    content: str  # hash of the token files and of the size of the vocabulary
    vocab_size: int
    dtype: str  # number format of the token files, in numpy's notation
    train_tokens: int
    validation_tokens: int

    @property
    def folder(self) -> Path:
        """Folder of the token files."""
        return _tokens_home() / self.content

    def map(self, side: SplitSide) -> NDArray[Any]:
        """The tokens of one side of the split, memory-mapped: (n,)."""
        return np.memmap(self.folder / f"{side}.bin", self.dtype, "r")


@dataclass(frozen=True)
class Split:
    """A corpus that is split into a training side and a validation side. Documents are held out for
    validation as a whole. If the corpus has a single document, the end of this document is held
    out."""

    corpus: LocatedCorpus
    fraction: float  # share of the corpus to hold out, unless it has a validation file
    held_out: frozenset[str]  # names of the held-out documents; empty for a single document

    @classmethod
    def of(cls, corpus: LocatedCorpus, fraction: float) -> "Split":
        """Split a corpus. The result depends only on the fraction and the documents' names."""
        names = [document.name for document in corpus.documents()]
        held_out = held_out_names(names, fraction) if len(names) > 1 else frozenset[str]()
        return cls(corpus, fraction, held_out)

    def pieces(self) -> Iterator[tuple[SplitSide, Content]]:
        """The side and the content of each document, in the order of the corpus. A single document
        yields two pieces: its beginning for training and its end for validation."""
        for document in self.corpus.documents():
            if self.held_out:
                yield "validation" if document.name in self.held_out else "train", document.content
            else:
                cut = len(document.content) - round(self.fraction * len(document.content))
                yield "train", document.content[:cut]
                yield "validation", document.content[cut:]

    def training_text(self) -> Iterator[str]:
        """The texts of the training side, for training a tokenizer."""
        return (str(piece) for side, piece in self.pieces() if side == "train")


def held_out_names(names: Sequence[str], fraction: float) -> frozenset[str]:
    """The names of the documents to hold out.

    If the corpus has a validation file of nanoGPT's scripts (val.bin), only this file is held out.
    Otherwise, the hash of each document's name gives a number in [0, 1), and the document is held
    out if this number is below `fraction`. At least one document is held out, and at least one is
    not. Unless one of these two limits applies, the side of a document depends only on its own
    name and on `fraction`. So the documents keep their sides when others are added.
    """
    if validation_files := frozenset(filter(corpora.is_held_out, names)):
        return validation_files
    hashes = {
        name: int.from_bytes(hashlib.sha256(os.fsencode(name)).digest()[:8]) / 2**64
        for name in names
    }
    held_out = {name for name in names if hashes[name] < fraction}
    if not held_out:
        held_out = {min(hashes, key=hashes.__getitem__)}
    if len(held_out) == len(names):
        held_out.remove(max(hashes, key=hashes.__getitem__))
    return frozenset(held_out)


@dataclass(frozen=True)
class Sources:
    """The corpora of a spec, and the tokenizer that encodes them."""

    corpora: tuple[LocatedCorpus, ...]
    tokenizer: str
    fraction: float  # share of each corpus to hold out, unless it has a validation file

    @cached_property
    def split(self) -> Callable[[LocatedCorpus], Split]:
        """A function that splits a corpus. It caches its results, because it reads the corpus."""
        return cache(lambda corpus: Split.of(corpus, self.fraction))

    @cached_property
    def fingerprints(self) -> dict[LocatedCorpus, str]:
        """`LocatedCorpus.fingerprint` of each corpus."""
        return {corpus: corpus.fingerprint() for corpus in self.corpora}

    @cached_property
    def text_encoder(self) -> Tokenizer:
        """The tokenizer of the corpora that consist of text. A BPE is trained on the training
        sides of all these corpora. The weights of a mixture have no effect on the tokenizer."""

        def training_text() -> Iterator[str]:
            return chain.from_iterable(
                self.split(corpus).training_text() for corpus in self.corpora
            )

        return tokenizer.build_tokenizer(self.tokenizer, training_text)

    def encoder(self, corpus: LocatedCorpus) -> Tokenizer:
        """The tokenizer of a corpus. Raises InvalidInput if one of the corpora consists of tokens
        and the spec names a tokenizer other than the default, which is bytes."""
        token_corpora = [corpus for corpus in self.corpora if corpus.holds_tokens]
        if token_corpora and self.tokenizer != "bytes":
            remedy = "leave the tokenizer out"
            if len(token_corpora) < len(self.corpora):
                remedy = "give text for all parts of the mixture"
            message = f"corpus {token_corpora[0].name} already holds tokens; {remedy}"
            raise InvalidInput.of(tokenizer.FIELD, message, self.tokenizer)
        if corpus in token_corpora:
            return tokenizer.from_tokens(
                np.asarray(document.content) for document in corpus.documents()
            )
        return self.text_encoder

    def key(self, corpus: LocatedCorpus) -> str:
        """Hash of the properties that determine the tokens of a corpus."""
        tokenizer_source = ""
        if path := tokenizer.tokenizer_path(self.tokenizer):
            tokenizer_source = corpora.fingerprint((path,))
        elif self.tokenizer != "bytes" and len(self.corpora) > 1:  # a BPE trained on all corpora
            tokenizer_source = " ".join(sorted(self.fingerprints.values()))
        parts = (self.fingerprints[corpus], self.tokenizer, tokenizer_source, self.fraction)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def prepare_tokens(spec: DataSpec) -> tuple[Prepared, ...]:
    """The tokenized corpora of the spec, in the order of its parts. Token files of an earlier call
    are used if the source files have not changed since then. Raises InvalidInput if a corpus or the
    tokenizer cannot be used."""
    sources = Sources(
        tuple(corpora.find(part.corpus) for part in spec.parts),
        spec.tokenizer,
        spec.validation_fraction,
    )
    tokenizer.check_tokenizer_name(spec.tokenizer)
    return tuple(_prepare(corpus, sources) for corpus in sources.corpora)


def _prepare(corpus: LocatedCorpus, sources: Sources) -> Prepared:
    cache_entry = _tokens_home() / "prepared" / f"{sources.key(corpus)}.json"
    try:
        content = json.loads(cache_entry.read_text())
        return Prepared(**json.loads((_tokens_home() / content / "meta.json").read_text()))
    except FileNotFoundError:
        prepared = _tokenize(sources.split(corpus), sources.encoder(corpus))
        corpora.write_json(cache_entry, prepared.content)
        return prepared


def _tokens_home() -> Path:
    return home() / "tokens"


def _tokenize(split: Split, encoder: Tokenizer) -> Prepared:
    """Write the tokens to a temporary folder, then rename the folder to the hash `content`."""
    _tokens_home().mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_tokens_home(), prefix="draft-") as draft:
        prepared = _write(Path(draft, "new"), split, encoder)
        try:
            os.rename(Path(draft, "new"), prepared.folder)
        except OSError:
            # it is no error if another process has written the same tokens in the meantime
            if not (prepared.folder / "meta.json").exists():
                raise
    return prepared


def _write(folder: Path, split: Split, encoder: Tokenizer) -> Prepared:
    folder.mkdir()
    dtype = np.dtype("<u2" if encoder.vocab_size <= 2**16 else "<u4")
    tokens_of = {"train": 0, "validation": 0}
    hash_of = {side: hashlib.sha256() for side in tokens_of}
    with (
        (folder / "train.bin").open("wb") as train,
        (folder / "validation.bin").open("wb") as validation,
    ):
        file_of = {"train": train, "validation": validation}
        for side, piece in split.pieces():
            tokens = np.ascontiguousarray(encoder.encode(piece), dtype)
            file_of[side].write(tokens.data)
            hash_of[side].update(tokens.data)
            tokens_of[side] += len(tokens)
    side_hashes = [side_hash.hexdigest() for side_hash in hash_of.values()]
    description = " ".join([str(encoder.vocab_size), dtype.str, *side_hashes])
    content = hashlib.sha256(description.encode()).hexdigest()[:32]
    prepared = Prepared(
        content, encoder.vocab_size, dtype.str, tokens_of["train"], tokens_of["validation"]
    )
    if encoder.json:
        (folder / "tokenizer.json").write_text(encoder.json)
    (folder / "meta.json").write_text(json.dumps(asdict(prepared)))
    return prepared
