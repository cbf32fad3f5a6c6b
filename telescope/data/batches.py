"""The windows that a trial reads, and their order.

A `DataSpec` names a text, or a mixture of several (telescope.trials.mixtures); `resolve` tokenizes
it once (`telescope.data.tokens`) and returns the spec with the hash of the tokens in `content`.
From then on the hash is the identity of the data: it covers the tokens, their split and the shares
of a mixture, but no path and no date. So equal text is equal data on every machine, and a trial
whose text has changed under its name is refused with `CorpusLost`.

The order needs no state: `batch` is a function of (seed, step) alone, and the held-out windows are
the same for all trials.

Parts: `resolve` and `check_length`, when a job is accepted · `open_tokens`, `batch` and
`validation_windows`, in a trial.
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
class Half:
    """Training or validation half of the data: the tokens of each part, memory-mapped as
    little-endian uint16 or uint32, and its share."""

    parts: tuple[NDArray[Any], ...]  # of (n,)
    shares: tuple[float, ...]

    @cached_property
    def borders(self) -> NDArray[np.uint64]:  # (parts - 1,)
        """The 64-bit numbers at which the parts' ranges meet: a random 64-bit number draws the part
        in whose range it lies."""
        return (np.cumsum(self.shares)[:-1] * 2.0**64).astype(np.uint64)


@dataclass(frozen=True)
class Tokens:
    """The training and validation halves of the data."""

    train: Half
    validation: Half
    vocab_size: int


@dataclass(frozen=True)
class Blend:
    """The prepared parts of a mixture, and their shares; ordered by content, so that neither names
    nor paths affect what is read."""

    parts: tuple[Prepared, ...]
    shares: tuple[float, ...]

    @property
    def content(self) -> str:
        """Hash of the parts' contents and shares; for a single corpus, its own content hash."""
        if len(self.parts) == 1:
            return self.parts[0].content
        described = [
            (part.content, share) for part, share in zip(self.parts, self.shares, strict=True)
        ]
        return hashlib.sha256(repr(described).encode()).hexdigest()[:32]

    @property
    def vocab_size(self) -> int:
        """Vocabulary size, the same for all parts."""
        return self.parts[0].vocab_size


def resolve(spec: DataSpec) -> DataSpec:
    """The data with absolute paths, and with `content` and `vocab_size` filled in. Raises
    InvalidInput, naming the field at fault."""
    prepared = prepare_tokens(spec)
    _check_windows(spec, prepared)
    blend = _blend(spec, prepared)
    for name in ("content", "vocab_size"):
        given, found = getattr(spec, name), getattr(blend, name)
        if given and given != found:
            described = mixtures.corpus_label(spec.corpus)
            message = f"{described} has {name} {found} now; leave {name} out to accept the new value, or restore the text"
            raise InvalidInput.of(f"data.{name}", message, given)
    path = tokenizer.tokenizer_path(spec.tokenizer)
    return replace(
        spec,
        corpus=_from_the_root(spec.corpus),
        tokenizer=str(path) if path else spec.tokenizer,
        content=blend.content,
        vocab_size=blend.vocab_size,
    )


def _from_the_root(corpus: str | tuple[Part, ...]) -> str | tuple[Part, ...]:
    if isinstance(corpus, str):
        return str(corpora.corpus_path(corpus)) if corpora.is_path(corpus) else corpus
    return tuple(Part(str(_from_the_root(part.corpus)), part.weight) for part in corpus)


def _blend(spec: DataSpec, prepared: Sequence[Prepared]) -> Blend:
    """The prepared parts of the data. Raises InvalidInput if two hold the same text, or their
    vocabularies differ."""
    ordered = sorted(zip(prepared, spec.parts, strict=True), key=lambda each: each[0].content)
    for (one, part), (other, again) in pairwise(ordered):
        if one.content == other.content:
            message = f"{part.corpus} and {again.corpus} hold the same text; name one of them, with both weights"
            raise InvalidInput.of(corpora.FIELD, message, again.corpus)
        if one.vocab_size != other.vocab_size:
            sizes = f"{part.corpus} needs a vocabulary of {one.vocab_size}, and {again.corpus} of {other.vocab_size}"
            raise InvalidInput.of(
                corpora.FIELD,
                f"{sizes}; write the tokens of all parts by one tokenizer, or give their text",
                again.corpus,
            )
    return Blend(tuple(each for each, _ in ordered), tuple(part.weight for _, part in ordered))


def check_length(spec: DataSpec, batch_tokens: int) -> None:
    """Raise InvalidInput if a corpus's training split is shorter than its share of a batch, or its
    validation split shorter than a window."""
    prepared = prepare_tokens(spec)
    _check_windows(spec, prepared)
    for part, one in zip(spec.parts, prepared, strict=True):
        drawn = math.ceil(part.weight * batch_tokens)
        if one.train_tokens < drawn + 1:
            batch = (
                f"one batch of {drawn}"
                if part.weight == 1
                else f"its share of one batch of {batch_tokens}, {drawn}"
            )
            raise _too_short(
                part,
                f"{one.train_tokens} training tokens",
                f"{batch} + 1; give more text or lower batch_tokens",
            )


def _check_windows(spec: DataSpec, prepared: Sequence[Prepared]) -> None:
    needed = f"one window of {spec.context} + 1; give more text, or change context or validation_fraction"
    for part, one in zip(spec.parts, prepared, strict=True):
        for side, tokens in (("training", one.train_tokens), ("validation", one.validation_tokens)):
            if tokens < spec.context + 1:
                raise _too_short(part, f"{tokens} {side} tokens", needed)


def _too_short(part: Part, has: str, wanted: str) -> InvalidInput:
    return InvalidInput.of(corpora.FIELD, f"is too short: {has}, fewer than {wanted}", part.corpus)


def open_tokens(spec: DataSpec) -> Tokens:
    """The tokens of a resolved spec. Raises CorpusLost if its sources no longer give them."""
    if not spec.content:
        raise InvalidInput.of(
            "data.content", "is not filled in; pass the spec through telescope.data.resolve first"
        )
    described = mixtures.corpus_label(spec.corpus)
    try:
        blend = _blend(spec, prepare_tokens(spec))
    except (InvalidInput, OSError) as error:
        raise CorpusLost(f"{described} cannot be read any more: {error}") from error
    if blend.content != spec.content:
        raise CorpusLost(
            f"{described} has changed since its job was accepted: its tokens have the hash "
            f"{blend.content} now, {spec.content} then; restore the text, or submit the job again"
        )
    return _map(tuple(part.folder for part in blend.parts), blend)


@lru_cache(maxsize=8)
# `folders` are in the key because they depend on TELESCOPE_HOME
def _map(folders: tuple[Path, ...], blend: Blend) -> Tokens:
    # Plain views: indexing np.memmap itself is several times slower.
    train = tuple(np.asarray(part.map("train")) for part in blend.parts)
    validation = tuple(np.asarray(part.map("validation")) for part in blend.parts)
    return Tokens(Half(train, blend.shares), Half(validation, blend.shares), blend.vocab_size)


def batch(train: Half, seed: int, step: int, windows: int, context: int) -> torch.Tensor:
    """The windows of one step, (windows, context + 1), each from a part drawn by its share, at a
    uniformly random position: a function of (seed, step) alone."""
    key = np.array([seed % 2**64, step], np.uint64)
    # Counter-based (Salmon et al. 2011), and used raw, so that no change of numpy's distributions
    # can
    # change a batch.
    places, chances = np.random.Philox(key=key).random_raw((2, windows))
    drawn = train.borders.searchsorted(chances, side="right")  # (windows,), of parts
    read, within = np.empty((windows, context + 1), np.int64), np.arange(context + 1)
    for number, tokens in enumerate(train.parts):
        (mine,) = (drawn == number).nonzero()
        starts = places[mine] % np.uint64(len(tokens) - context)
        read[mine] = tokens[starts.astype(np.int64)[:, None] + within]
    return torch.from_numpy(read)


# of (n, context + 1)
def validation_windows(
    validation: Half, evaluation_tokens: int, context: int
) -> tuple[torch.Tensor, ...]:
    """Evenly spaced windows of each part whose targets do not overlap, the same for every trial.

    As many as the part's share of `evaluation_tokens`, rounded, but at least one; fewer if the part
    is short.
    """
    ends = np.rint(np.cumsum(validation.shares) * (evaluation_tokens // context)).astype(int)
    counts = np.diff(ends, prepend=0)
    return tuple(
        _evenly(tokens, int(n), context) for tokens, n in zip(validation.parts, counts, strict=True)
    )


def _evenly(tokens: NDArray[Any], windows: int, context: int) -> torch.Tensor:  # (n, context + 1)
    n = max(1, min(windows, (len(tokens) - 1) // context))
    starts = np.arange(n) * (len(tokens) - 1) // n
    return torch.from_numpy(tokens[starts[:, None] + np.arange(context + 1)].astype(np.int64))
