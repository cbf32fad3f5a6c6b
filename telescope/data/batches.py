"""The windows on which a trial trains, and their order.

A trial is one training run. A window is a sequence of context + 1 tokens: the context that the
model reads, and one token more, since each token's target is the next token.

A `DataSpec` names a corpus, or a mixture of several corpora (telescope.trials.mixtures). `resolve`
tokenizes each corpus once (telescope.data.tokens) and returns the spec with the hash of the tokens
in its field `content`. From then on, this hash identifies the data. The hash depends on the
training tokens, the validation tokens, the size of the vocabulary and the shares of a mixture. It
does not depend on dates or on the location of a corpus. So a copy of a corpus has the same hash on
every machine. If a corpus changes later, the trials that were planned for its earlier content fail
with `CorpusLost`.

`batch` computes the windows of any step directly from the seed and the number of the step. The
held-out windows do not depend on the seed.

`resolve` and `check_length` are called when a job is accepted. `open_tokens`, `batch` and
`validation_windows` are called in a trial.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from telescope.data import corpora, tokenizer
from telescope.data.tokens import Prepared, prepare_tokens
from telescope.errors import CorpusLost, InvalidInput
from telescope.trials import mixtures
from telescope.trials.data import DataSpec
from telescope.trials.mixtures import Part


@dataclass(frozen=True)
class TokenSplit:
    """The training tokens or the validation tokens of each part of the data, and the parts' shares.

    A part is one corpus of a mixture. If the data are a single corpus, it is the only part. The
    tokens are memory-mapped as little-endian uint16 or uint32.
    """

    parts: tuple[NDArray[Any], ...]  # token ids (n,) of each part
    shares: tuple[float, ...]

    @cached_property
    def thresholds(self) -> NDArray[np.uint64]:  # (parts - 1,)
        """Thresholds that divide the 64-bit numbers into one range for each part. The sizes of the
        ranges are in proportion to the shares. A random number selects the part in whose range the
        number lies."""
        return (np.cumsum(self.shares)[:-1] * 2.0**64).astype(np.uint64)


@dataclass(frozen=True)
class Tokens:
    """The data of a trial, split into training and validation."""

    train: TokenSplit
    validation: TokenSplit
    vocab_size: int


@dataclass(frozen=True)
class PreparedMixture:
    """The tokenized parts of a mixture, and their shares. The parts are sorted by the hashes of
    their tokens, so that the names and paths of corpora do not affect the batches."""

    parts: tuple[Prepared, ...]
    shares: tuple[float, ...]

    @property
    def content(self) -> str:
        """Hash of the `content` and the share of each part. For a single part, its `content`."""
        if len(self.parts) == 1:
            return self.parts[0].content
        contents = [part.content for part in self.parts]
        pairs = list(zip(contents, self.shares, strict=True))
        return hashlib.sha256(repr(pairs).encode()).hexdigest()[:32]

    @property
    def vocab_size(self) -> int:
        """Vocabulary size, the same for all parts."""
        return self.parts[0].vocab_size


def resolve(spec: DataSpec) -> DataSpec:
    """The spec with absolute paths, and with `content` and `vocab_size` filled in. Raises
    InvalidInput if the data cannot be used, or if a `content` or `vocab_size` that the spec already
    has differs from the value computed from the data."""
    prepared = prepare_tokens(spec)
    _check_windows(spec, prepared)
    mixture = _prepared_mixture(spec, prepared)
    for name in ("content", "vocab_size"):
        expected, actual = getattr(spec, name), getattr(mixture, name)
        if expected and expected != actual:
            message = (
                f"{mixtures.corpus_label(spec.corpus)} has {name} {actual} now; leave {name} out "
                "to accept the new value, or restore the text"
            )
            raise InvalidInput.of(f"data.{name}", message, expected)
    path = tokenizer.tokenizer_path(spec.tokenizer)
    return replace(
        spec,
        corpus=_with_absolute_paths(spec.corpus),
        tokenizer=str(path) if path else spec.tokenizer,
        content=mixture.content,
        vocab_size=mixture.vocab_size,
    )


def _with_absolute_paths(corpus: str | tuple[Part, ...]) -> str | tuple[Part, ...]:
    if isinstance(corpus, str):
        return str(corpora.corpus_path(corpus)) if corpora.is_path(corpus) else corpus
    return tuple(Part(str(_with_absolute_paths(part.corpus)), part.weight) for part in corpus)


def _prepared_mixture(spec: DataSpec, prepared: Sequence[Prepared]) -> PreparedMixture:
    """The tokenized parts of the data and their shares. Raises InvalidInput if two parts hold the
    same tokens, or if the vocabularies of two parts differ in size."""
    pairs = sorted(zip(prepared, spec.parts, strict=True), key=lambda pair: pair[0].content)
    for (tokens, part), (next_tokens, next_part) in pairwise(pairs):
        if tokens.content == next_tokens.content:
            weight = "the sum of both weights" if len(pairs) > 2 else "no weight"
            message = (
                f"{part.corpus} and {next_part.corpus} hold the same text; name only one of "
                f"them, with {weight}"
            )
            raise InvalidInput.of(corpora.FIELD, message, next_part.corpus)
        if tokens.vocab_size != next_tokens.vocab_size:
            message = (
                f"{part.corpus} needs a vocabulary of {tokens.vocab_size} entries, but "
                f"{next_part.corpus} needs {next_tokens.vocab_size}; give the text of all parts. "
                "If that is not possible, write the tokens of all parts with one tokenizer, and "
                "make sure that its highest token, such as the end of text, occurs in each part: "
                "the vocabulary of a corpus of tokens is its highest token + 1, rounded up to a "
                "multiple of 64"
            )
            raise InvalidInput.of(corpora.FIELD, message, next_part.corpus)
    return PreparedMixture(
        tuple(tokens for tokens, _ in pairs), tuple(part.weight for _, part in pairs)
    )


def check_length(spec: DataSpec, batch_tokens: int) -> None:
    """Raise InvalidInput if a part of the data is too short.

    The training tokens of each part must fill the part's share of a batch, plus one token. Both the
    training tokens and the validation tokens of each part must fill at least one window.
    """
    prepared = prepare_tokens(spec)
    _check_windows(spec, prepared)
    for part, tokens in zip(spec.parts, prepared, strict=True):
        share = math.ceil(part.weight * batch_tokens)
        if tokens.train_tokens < share + 1:
            batch = "one batch"
            if part.weight != 1:
                batch = f"its share of one batch of {batch_tokens}"
            length = f"{tokens.train_tokens} training tokens"
            required = f"{batch} needs {share} + 1; give more text or lower batch_tokens"
            raise _too_short(part, length, required)


def _check_windows(spec: DataSpec, prepared: Sequence[Prepared]) -> None:
    """Raise InvalidInput unless the training tokens and the validation tokens of each part fill at
    least one window, which has context + 1 tokens."""
    required = (
        f"one window needs {spec.context} + 1; give more text, or change context or "
        "validation_fraction"
    )
    for part, tokens in zip(spec.parts, prepared, strict=True):
        lengths = {"training": tokens.train_tokens, "validation": tokens.validation_tokens}
        for side, length in lengths.items():
            if length < spec.context + 1:
                raise _too_short(part, f"{length} {side} tokens", required)


def _too_short(part: Part, length: str, required: str) -> InvalidInput:
    message = f"is too short: it has {length}, but {required}"
    return InvalidInput.of(corpora.FIELD, message, part.corpus)


def open_tokens(spec: DataSpec) -> Tokens:
    """The tokens of a spec that `resolve` returned. Raises InvalidInput if the spec has no
    `content`. Raises CorpusLost if a corpus cannot be read any more, or if the hash of the tokens
    is no longer `content`."""
    if not spec.content:
        raise InvalidInput.of(
            "data.content",
            "is not filled in; pass the spec to telescope.data.batches.resolve first",
        )
    label = mixtures.corpus_label(spec.corpus)
    try:
        mixture = _prepared_mixture(spec, prepare_tokens(spec))
    except (InvalidInput, OSError) as error:
        raise CorpusLost(f"{label} cannot be read any more: {error}") from error
    if mixture.content != spec.content:
        raise CorpusLost(
            f"{label} has changed since its job was accepted: the hash of its tokens was "
            f"{spec.content} and is now {mixture.content}; restore the text, or submit the job "
            "again"
        )
    return _map(tuple(part.folder for part in mixture.parts), mixture)


@lru_cache(maxsize=8)
def _map(folders: tuple[Path, ...], mixture: PreparedMixture) -> Tokens:
    """Memory-map the tokens. `folders` is part of the cache's key, because the folders depend on
    TELESCOPE_HOME."""
    # plain arrays, because indexing an np.memmap is several times slower
    train = tuple(np.asarray(part.map("train")) for part in mixture.parts)
    validation = tuple(np.asarray(part.map("validation")) for part in mixture.parts)
    return Tokens(
        TokenSplit(train, mixture.shares),
        TokenSplit(validation, mixture.shares),
        mixture.vocab_size,
    )


def batch(train: TokenSplit, seed: int, step: int, windows: int, context: int) -> torch.Tensor:
    """The windows of one step: (windows, context + 1). For the same data and the same sizes, the
    windows depend only on `seed` and `step`. For each window, a part is drawn with the shares as
    probabilities. Then a position in this part is drawn uniformly."""
    key = np.array([seed % 2**64, step], np.uint64)
    # Philox is a counter-based generator (Salmon et al. 2011). Its raw numbers are used, so that
    # changes in numpy's distributions cannot change a batch.
    position_draws, part_draws = np.random.Philox(key=key).random_raw((2, windows))
    part_of_window = train.thresholds.searchsorted(part_draws, side="right")  # (windows,)
    result, offsets = np.empty((windows, context + 1), np.int64), np.arange(context + 1)
    for number, tokens in enumerate(train.parts):
        (rows,) = (part_of_window == number).nonzero()
        starts = position_draws[rows] % np.uint64(len(tokens) - context)
        result[rows] = tokens[starts.astype(np.int64)[:, None] + offsets]
    return torch.from_numpy(result)


def validation_windows(
    validation: TokenSplit, evaluation_tokens: int, context: int
) -> tuple[torch.Tensor, ...]:  # (n, context + 1) for each part
    """Evenly spaced windows of each part, which do not depend on a seed. The targets of different
    windows do not overlap.

    About `evaluation_tokens` // `context` windows are divided among the parts in proportion to
    their shares. Each part has at least one window, and at most as many windows as its tokens fill.
    """
    ends = np.rint(np.cumsum(validation.shares) * (evaluation_tokens // context)).astype(int)
    counts = np.diff(ends, prepend=0)
    return tuple(
        _spaced_windows(tokens, int(count), context)
        for tokens, count in zip(validation.parts, counts, strict=True)
    )


def _spaced_windows(tokens: NDArray[Any], windows: int, context: int) -> torch.Tensor:
    """Evenly spaced windows: (n, context + 1). n is the smaller of `windows` and the number of
    windows that the tokens fill, but at least 1."""
    n = max(1, min(windows, (len(tokens) - 1) // context))
    starts = np.arange(n) * (len(tokens) - 1) // n
    return torch.from_numpy(tokens[starts[:, None] + np.arange(context + 1)].astype(np.int64))
