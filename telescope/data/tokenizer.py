"""Tokenizers: from text to token ids.

A job's field `data.tokenizer` names one of three kinds of tokenizer:

- `bytes`: each byte of the UTF-8 text is a token
- `bpe-N`: a byte-pair encoding (BPE) with up to N entries, trained on the training text alone
  (Sennrich et al., arXiv 1508.07909); it encodes bytes, as in GPT-2
- the path of a tokenizer.json, which the tokenizers library writes

If the tokenizer has an end-of-text token, this token is added to the end of every text that is
tokenized. Under `bytes`, it is byte 0, which does not occur in ordinary text. For other
tokenizers, it is the first entry of END_OF_TEXT that the vocabulary has.
"""

import difflib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telescope.data.documents import Content, absolute
from telescope.errors import InvalidInput
from telescope.extras import extra

FIELD = "data.tokenizer"
END_OF_TEXT = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "[SEP]")
SMALLEST_BPE = 257  # 256 bytes and the end of text
LARGEST_BPE = 1 << 20


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer, which turns text into token ids from 0 to vocab_size - 1."""

    vocab_size: int
    # text -> array (n,) of its token ids, which ends with the end-of-text token if the tokenizer
    # has one; the tokenizer of a corpus of tokens returns the tokens unchanged
    encode: Callable[[Content], NDArray[Any]]
    json: str | None = None  # content of a tokenizer.json; None for bytes and token files


def build_tokenizer(name: str, training_text: Callable[[], Iterable[str]]) -> Tokenizer:
    """The tokenizer that `data.tokenizer` names. A BPE is trained on `training_text`. Raises
    InvalidInput if there is no tokenizer of this name, or if the named file is not a
    tokenizer.json."""
    check_tokenizer_name(name)
    if path := tokenizer_path(name):
        return _from_file(path, name)
    return BYTES if name == "bytes" else _train_bpe(bpe_size(name) or 0, iter(training_text()))


def check_tokenizer_name(name: str) -> None:
    """Raise InvalidInput if there is no tokenizer of this name. No training text is read."""
    if (path := tokenizer_path(name)) is not None:
        if not os.path.isfile(path):
            remedy = "give the path of a tokenizer.json, bytes, or bpe-N"
            message = f"the file {path} does not exist; {remedy}"
            raise InvalidInput.of(FIELD, message, name)
        return
    size = bpe_size(name)
    if name != "bytes" and size is None:
        near = difflib.get_close_matches(name, ("bytes", "bpe-4096"), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        message = f"must be bytes, bpe-N such as bpe-4096, or the path of a tokenizer.json{hint}"
        raise InvalidInput.of(FIELD, message, name)
    if size is not None and not SMALLEST_BPE <= size <= LARGEST_BPE:
        message = (
            f"a BPE has {SMALLEST_BPE} to {LARGEST_BPE} entries; give a size in this range, such "
            "as bpe-4096"
        )
        raise InvalidInput.of(FIELD, message, name)


def tokenizer_path(name: str) -> Path | None:
    """The file from which a tokenizer is read. None if the name is not a path."""
    is_path = name.endswith(".json") or "/" in name or "\\" in name
    return absolute(name) if is_path else None


def bpe_size(name: str) -> int | None:
    """The number N of the name bpe-N. None for any other name."""
    match = re.fullmatch(r"bpe-([0-9]{1,9})", name)
    return int(match[1]) if match else None


def _encode_bytes(text: Content) -> NDArray[Any]:
    return np.frombuffer(str(text).encode() + b"\0", np.uint8)


BYTES = Tokenizer(256, _encode_bytes)


def from_tokens(parts: Iterable[NDArray[Any]]) -> Tokenizer:
    """The tokenizer of a corpus that already consists of tokens. It leaves the tokens unchanged.
    The size of its vocabulary is the smallest multiple of 64 that is above the largest token id."""
    largest = max(int(part.max()) for part in parts)
    return Tokenizer((largest // 64 + 1) * 64, np.asarray)


def _from_file(path: Path, name: str) -> Tokenizer:
    with extra("service"):
        import tokenizers  # imported here, for a fast start

    try:
        return _from_library(tokenizers.Tokenizer.from_file(str(path)))
    except Exception as error:  # the library raises no more specific error
        message = (
            f"{path} is not a tokenizer.json ({error}); write one with Tokenizer.save() of the "
            "tokenizers library"
        )
        raise InvalidInput.of(FIELD, message, name) from error


def _train_bpe(size: int, texts: Iterator[str]) -> Tokenizer:
    with extra("service"):
        import tokenizers  # imported here, for a fast start
        from tokenizers import decoders, models, pre_tokenizers, trainers

    bpe = tokenizers.Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[END_OF_TEXT[0]],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return _from_library(bpe)


def _from_library(tokenizer: Any) -> Tokenizer:
    tokenizer.no_truncation()
    tokenizer.no_padding()
    vocabulary: dict[str, int] = tokenizer.get_vocab(with_added_tokens=True)
    end = [vocabulary[token] for token in END_OF_TEXT if token in vocabulary][:1]

    def encode(text: Content) -> NDArray[Any]:
        return np.array(tokenizer.encode(str(text), add_special_tokens=False).ids + end, np.uint32)

    return Tokenizer(max(vocabulary.values()) + 1, encode, tokenizer.to_str())
