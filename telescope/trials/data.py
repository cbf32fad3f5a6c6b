"""Specification of the data that a trial reads."""

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from telescope.trials import mixtures
from telescope.trials.types import STRICT

# fields of DataSpec that name the sources of the tokens
ORIGIN = ("corpus", "tokenizer")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DataSpec:
    """A stream of tokens. `content` and `vocab_size` are filled in when a job is accepted."""

    corpus: mixtures.CorpusOrMixture
    """A built-in corpus (python-stdlib, python-docs), a registered name, or the path of a file or
    folder; or a mixture, a mapping of two or more of these to weights, such as {python-stdlib: 7,
    python-docs: 3}. Each weight is at least a millionth of their sum."""
    tokenizer: Annotated[str, Field(min_length=1)] = "bytes"
    """bytes, bpe-N (a BPE of up to N entries trained on the corpus, or on all parts of a mixture),
    or the path of a tokenizer.json. Leave it out if a corpus already holds tokens."""
    context: Annotated[int, Field(ge=2)] = 64
    """Tokens per training window, the context length of the model."""
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Approximate share of each corpus that is held out for validation: whole documents, or the end
    of the document if the corpus has only one. A val.bin file next to a train.bin file is held out
    whatever this share is."""
    content: str = ""
    """Hash of the tokens, their split and the shares of a mixture, filled in by telescope; a given
    hash must match."""
    vocab_size: Annotated[int, Field(ge=0)] = 0
    """Size of the vocabulary, filled in by telescope; a given size must match."""

    @property
    def parts(self) -> tuple[mixtures.Part, ...]:
        """The corpora that windows are drawn from, with their shares as weights: 1 for a single
        corpus."""
        return mixtures.parts(self.corpus)
