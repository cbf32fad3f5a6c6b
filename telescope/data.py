"""What does a trial read, and in which order?

A `DataSpec` names a text; `resolve` has it tokenized once (`telescope.tokens`) and gives the spec back with the hash of the tokens in
`content`. From then on the hash is the identity of the data: it covers the tokens and their split, no path and no date, so that
equal text is equal data on every machine, and a trial that finds other text under the name is refused with `CorpusLost`.

The order is no state either: `batch` is a function of (seed, step) alone, and the held-out windows are the same for all.

Parts: `resolve` and `check_length`, when a job is accepted · `open_tokens`, `batch` and `validation_windows`, in a trial.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from telescope import corpora, tokenizer
from telescope.errors import CorpusLost, InvalidInput
from telescope.spec import DataSpec
from telescope.tokens import Prepared, prepare


@dataclass(frozen=True)
class Tokens:
    """The two halves of a corpus, memory-mapped as little-endian uint16 or uint32."""

    train: NDArray[Any]  # (n,)
    validation: NDArray[Any]  # (m,)
    vocab_size: int


def resolve(spec: DataSpec) -> DataSpec:
    """The same data with paths absolute and `content` and `vocab_size` filled in; InvalidInput names what is at fault."""
    prepared = prepare(spec)
    _check_windows(spec, prepared)
    for name in ("content", "vocab_size"):
        given, found = getattr(spec, name), getattr(prepared, name)
        if given and given != found:
            message = f"corpus {spec.corpus} has {name} {found} now; leave {name} out to take it as it is, or restore the text"
            raise InvalidInput.of(f"data.{name}", message, given)
    path = tokenizer.path_of(spec.tokenizer)
    return replace(
        spec,
        corpus=str(corpora.path_of(spec.corpus)) if corpora.is_path(spec.corpus) else spec.corpus,
        tokenizer=str(path) if path else spec.tokenizer,
        content=prepared.content,
        vocab_size=prepared.vocab_size,
    )


def check_length(spec: DataSpec, batch_tokens: int) -> None:
    """Refuse a corpus whose training split is shorter than one batch, or whose validation split is shorter than one window."""
    prepared = prepare(spec)
    _check_windows(spec, prepared)
    if prepared.train_tokens < batch_tokens + 1:
        wanted = f"one batch of {batch_tokens} + 1; give more text or lower batch_tokens"
        raise _too_short(spec, f"{prepared.train_tokens} training tokens", wanted)


def _check_windows(spec: DataSpec, prepared: Prepared) -> None:
    wanted = f"one window of {spec.context} + 1; give more text, or change context or validation_fraction"
    for side, tokens in (("training", prepared.train_tokens), ("validation", prepared.validation_tokens)):
        if tokens < spec.context + 1:
            raise _too_short(spec, f"{tokens} {side} tokens", wanted)


def _too_short(spec: DataSpec, has: str, wanted: str) -> InvalidInput:
    return InvalidInput.of(corpora.FIELD, f"is too short: {has}, fewer than {wanted}", spec.corpus)


def open_tokens(spec: DataSpec) -> Tokens:
    """The tokens of a resolved spec; CorpusLost where its sources no longer give them."""
    if not spec.content:
        raise InvalidInput.of("data.content", "is not filled in; pass the spec through telescope.data.resolve first")
    try:
        prepared = prepare(spec)
    except (InvalidInput, OSError) as error:
        raise CorpusLost(f"corpus {spec.corpus} cannot be read any more: {error}") from error
    if prepared.content != spec.content:
        raise CorpusLost(
            f"corpus {spec.corpus} has changed since its job was accepted: its tokens have the hash {prepared.content} now, "
            f"{spec.content} then; restore the text, or submit the job again"
        )
    return _map(prepared.folder, prepared)


@lru_cache(maxsize=8)
def _map(folder: Path, prepared: Prepared) -> Tokens:  # `folder` is in the key because it depends on TELESCOPE_HOME
    # A plain view: indexing np.memmap itself is several times slower.
    return Tokens(np.asarray(prepared.map("train")), np.asarray(prepared.map("validation")), prepared.vocab_size)


def batch(train: NDArray[Any], seed: int, step: int, windows: int, context: int) -> torch.Tensor:  # (windows, context + 1)
    """The windows of one step, drawn uniformly: a function of (seed, step) alone, whatever was read before."""
    key = np.array([seed % 2**64, step], np.uint64)
    # Counter-based (Salmon et al. 2011), and raw, so that no change of numpy's distributions can change a batch.
    starts = np.random.Philox(key=key).random_raw(windows) % np.uint64(len(train) - context)
    return _gather(train, starts.astype(np.int64), context)


def validation_windows(validation: NDArray[Any], evaluation_tokens: int, context: int) -> torch.Tensor:  # (n, context + 1)
    """Evenly spaced windows whose targets do not overlap, the same for every trial; fewer where the text is short."""
    n = max(1, min(evaluation_tokens // context, (len(validation) - 1) // context))
    return _gather(validation, np.arange(n) * (len(validation) - 1) // n, context)


def _gather(tokens: NDArray[Any], starts: NDArray[np.int64], context: int) -> torch.Tensor:
    return torch.from_numpy(tokens[starts[:, None] + np.arange(context + 1)].astype(np.int64))
