"""Tokenizers: from text to token ids.

`data.tokenizer` is one of three:

- `bytes`: 256 symbols, nothing to learn
- `bpe-N`: a byte-level BPE of up to N entries, trained on the training split alone (Sennrich et
  al., arXiv 1508.07909; byte-level as in GPT-2)
- the path of a tokenizer.json

Every document ends in the end-of-text token, if the tokenizer has one: under `bytes` it is byte 0,
which occurs in no text, otherwise a token such as `<|endoftext|>`.

Parts: `Tokenizer` · `build_tokenizer`, a tokenizer by its name · `from_tokens`, the tokenizer of
token files · `check_tokenizer_name`, `tokenizer_path` and `bpe_size`, the meaning of a name.
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
    """A function from text to token ids in [0, vocab_size)."""

    vocab_size: int
    encode: Callable[[Content], NDArray[Any]]  # a document -> ids (n,), with end-of-text
    json: str | None = None  # content of a tokenizer.json; None for bytes and token files


def build_tokenizer(name: str, training_text: Callable[[], Iterable[str]]) -> Tokenizer:
    """The tokenizer that `data.tokenizer` names; a BPE is trained on `training_text`. Raises
    InvalidInput if there is no such tokenizer, or its file is not a tokenizer.json."""
    check_tokenizer_name(name)
    if path := tokenizer_path(name):
        return _from_file(path, name)
    return BYTES if name == "bytes" else _train_bpe(bpe_size(name) or 0, iter(training_text()))


def check_tokenizer_name(name: str) -> None:
    """Raise InvalidInput if there is no tokenizer of this name. No training text is read."""
    if (path := tokenizer_path(name)) is not None:
        if not os.path.isfile(path):
            message = f"{path} does not exist; give the path of a tokenizer.json, bytes, or bpe-N"
            raise InvalidInput.of(FIELD, message, name)
        return
    size = bpe_size(name)
    if name != "bytes" and size is None:
        near = difflib.get_close_matches(name, ("bytes", "bpe-4096"), n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        message = f"{hint}give bytes, bpe-N such as bpe-4096, or the path of a tokenizer.json"
        raise InvalidInput.of(FIELD, message, name)
    if size is not None and not SMALLEST_BPE <= size <= LARGEST_BPE:
        message = (
            f"a BPE has {SMALLEST_BPE} to {LARGEST_BPE} entries; give a size in this range, such "
            "as bpe-4096"
        )
        raise InvalidInput.of(FIELD, message, name)


def tokenizer_path(name: str) -> Path | None:
    """The file that a tokenizer is read from; None for bytes and bpe-N."""
    is_path = name.endswith(".json") or "/" in name or "\\" in name
    return absolute(name) if is_path else None


def bpe_size(name: str) -> int | None:
    """N of bpe-N; None for any other name."""
    match = re.fullmatch(r"bpe-([0-9]{1,9})", name)
    return int(match[1]) if match else None


def _encode_bytes(text: Content) -> NDArray[Any]:
    return np.frombuffer(str(text).encode() + b"\0", np.uint8)


BYTES = Tokenizer(256, _encode_bytes)


def from_tokens(parts: Iterable[NDArray[Any]]) -> Tokenizer:
    """The tokenizer of a corpus that already consists of tokens, which it leaves unchanged. The
    vocabulary has all ids up to the largest, rounded up to a multiple of 64."""
    largest = max(int(part.max()) for part in parts)
    return Tokenizer((largest // 64 + 1) * 64, np.asarray)


def _from_file(path: Path, name: str) -> Tokenizer:
    with extra("service"):
        import tokenizers  # imported here, for a fast start

    try:
        return _from_library(tokenizers.Tokenizer.from_file(str(path)))
    except Exception as error:  # the library raises nothing more specific
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
