"""Token files: a corpus is split and tokenized once.

`prepare_tokens(spec)` splits each corpus of the spec, tokenizes it and stores the result under
`TELESCOPE_HOME/tokens`, so that a second call costs one `stat` per source file:

    <content>/{train,validation}.bin    little-endian uint16 or uint32; `content` is the hash of
                                        the tokens of both sides
    <content>/meta.json                 sizes (`Prepared`)
    prepared/<key>.json                 the content of the sources; `key` changes whenever a
                                        source file does

Tokens are written to a temporary folder, which is then renamed, so several processes may prepare
the same corpus: the first one wins. The split is by whole documents (`held_out_names`); a single
document is cut by position.
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

Side = Literal["train", "validation"]


@dataclass(frozen=True)
class Prepared:
    """A tokenized corpus: its content hash, vocabulary, and number of tokens."""

    content: str
    vocab_size: int
    dtype: str
    train_tokens: int
    validation_tokens: int

    @property
    def folder(self) -> Path:
        """Folder of the token files."""
        return _tokens_home() / self.content

    def map(self, side: Side) -> NDArray[Any]:
        """The tokens of one side, memory-mapped: (n,)."""
        return np.memmap(self.folder / f"{side}.bin", self.dtype, "r")


@dataclass(frozen=True)
class Split:
    """A corpus with a training and a validation side: whole documents are held out, or the end of a
    single document."""

    corpus: LocatedCorpus
    fraction: float  # to hold out
    held_out: frozenset[str]  # names of documents; empty for a single document

    @classmethod
    def of(cls, corpus: LocatedCorpus, fraction: float) -> "Split":
        """The split of a corpus, which depends on the names of its documents alone."""
        names = [document.name for document in corpus.documents()]
        held_out = held_out_names(names, fraction) if len(names) > 1 else frozenset[str]()
        return cls(corpus, fraction, held_out)

    def pieces(self) -> Iterator[tuple[Side, Content]]:
        """All pieces of the corpus, each with its side, in the order of its documents."""
        for document in self.corpus.documents():
            if self.held_out:
                yield "validation" if document.name in self.held_out else "train", document.content
            else:
                cut = len(document.content) - round(self.fraction * len(document.content))
                yield "train", document.content[:cut]
                yield "validation", document.content[cut:]

    def training_text(self) -> Iterator[str]:
        """The text of the training side, on which a tokenizer may be trained."""
        return (str(piece) for side, piece in self.pieces() if side == "train")


def held_out_names(names: Sequence[str], fraction: float) -> frozenset[str]:
    """The documents to hold out: those whose name hashes below the fraction, but at least one, and
    never all.

    The side of a document thus depends on its own name, so added text does not move other
    documents. A split made by nanoGPT's scripts (train.bin, val.bin) is respected.
    """
    if validation_files := frozenset(filter(corpora.is_held_out, names)):
        return validation_files
    hashed = {
        name: int.from_bytes(hashlib.sha256(os.fsencode(name)).digest()[:8]) / 2**64
        for name in names
    }
    held_out = {name for name in names if hashed[name] < fraction}
    if not held_out:
        held_out = {min(hashed, key=hashed.__getitem__)}
    if len(held_out) == len(names):
        held_out.remove(max(hashed, key=hashed.__getitem__))
    return frozenset(held_out)


@dataclass(frozen=True)
class Sources:
    """The corpora of a spec, and the tokenizer that encodes them."""

    corpora: tuple[LocatedCorpus, ...]
    tokenizer: str
    fraction: float  # held out from each corpus

    @cached_property
    def split(self) -> Callable[[LocatedCorpus], Split]:
        """A function that splits a corpus; its result is cached, since it reads the corpus."""
        return cache(lambda corpus: Split.of(corpus, self.fraction))

    @cached_property
    def fingerprints(self) -> dict[LocatedCorpus, str]:
        """The fingerprint of each corpus, which changes when one of its files does."""
        return {corpus: corpus.fingerprint() for corpus in self.corpora}

    @cached_property
    def text_encoder(self) -> Tokenizer:
        """The tokenizer of all texts. A BPE is trained on all texts, whatever their weights, so
        that all mixtures of the same texts have the same tokens."""

        def training_text() -> Iterator[str]:
            return chain.from_iterable(
                self.split(corpus).training_text() for corpus in self.corpora
            )

        return tokenizer.build_tokenizer(self.tokenizer, training_text)

    def encoder(self, corpus: LocatedCorpus) -> Tokenizer:
        """The tokenizer of this corpus. Raises InvalidInput if the spec names a tokenizer although
        one of its corpora consists of tokens."""
        token_corpora = [corpus for corpus in self.corpora if corpus.holds_tokens]
        if token_corpora and self.tokenizer != "bytes":
            message = (
                f"corpus {token_corpora[0].name} already holds tokens; leave the tokenizer out"
            )
            raise InvalidInput.of(tokenizer.FIELD, message, self.tokenizer)
        if corpus in token_corpora:
            return tokenizer.from_tokens(
                np.asarray(document.content) for document in corpus.documents()
            )
        return self.text_encoder

    def key(self, corpus: LocatedCorpus) -> str:
        """Hash of everything that the tokens of this corpus depend on."""
        tokenizer_source = ""
        if path := tokenizer.tokenizer_path(self.tokenizer):
            tokenizer_source = corpora.fingerprint((path,))
        elif self.tokenizer != "bytes" and len(self.corpora) > 1:  # a BPE of several texts
            tokenizer_source = " ".join(sorted(self.fingerprints.values()))
        parts = (self.fingerprints[corpus], self.tokenizer, tokenizer_source, self.fraction)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def prepare_tokens(spec: DataSpec) -> tuple[Prepared, ...]:
    """The tokens of each part of the data, of its files as they are now; read from the cache if
    they were prepared before. Raises InvalidInput if a corpus or the tokenizer cannot be used."""
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
    """Write the tokens to a temporary folder, and rename it to the hash of the tokens."""
    _tokens_home().mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_tokens_home(), prefix="draft-") as draft:
        prepared = _write(Path(draft, "new"), split, encoder)
        try:
            os.rename(Path(draft, "new"), prepared.folder)
        except OSError:
            # no error if another process has written the same tokens meanwhile
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
