"""Specification of the data that a trial reads."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag
from pydantic.dataclasses import dataclass

from telescope.trials import mixtures
from telescope.trials.table import TableSpec
from telescope.trials.types import STRICT

# fields of DataSpec that name the sources of the tokens
ORIGIN = ("corpus", "tokenizer")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DataSpec:
    """The text that a trial trains on, and how it becomes tokens. telescope fills in `content` and
    `vocab_size` when it accepts a job."""

    corpus: mixtures.CorpusOrMixture
    """A corpus or a mixture. A corpus is given by the name of a built-in corpus (python-stdlib,
    python-docs), by the name of a registered corpus, or by the path of a file or folder. A mixture
    is a mapping of two or more corpora to weights, such as {python-stdlib: 7, python-docs: 3}. Each
    weight must be at least a millionth of the sum of the weights."""
    tokenizer: Annotated[str, Field(min_length=1)] = "bytes"
    """How text becomes tokens. bytes: each byte is a token. bpe-N: telescope trains a BPE with up
    to N entries on the training text of the corpus or mixture. The path of a tokenizer.json: this
    tokenizer is used. Leave the field out if a corpus already holds tokens."""
    context: Annotated[int, Field(ge=2)] = 64
    """Context length of the model, in tokens. A training window has one token more, which is only
    predicted."""
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Approximate share of each corpus that is held out for validation. Whole documents are held
    out, or the end of the document if the corpus has only one. If a corpus consists of train.bin
    and val.bin, exactly val.bin is held out."""
    content: str = ""
    """Hash of the tokens, of their split into training and held-out tokens, and of the shares of a
    mixture. telescope computes it. If you give a hash, it must be equal to the one that telescope
    computes."""
    vocab_size: Annotated[int, Field(ge=0)] = 0
    """Number of entries in the vocabulary. telescope computes it. If you give a number, it must be
    equal to the one that telescope computes."""

    @property
    def parts(self) -> tuple[mixtures.Part, ...]:
        """The corpora that windows are drawn from. The weight of each is its share of the data; a
        single corpus has the weight 1."""
        return mixtures.parts(self.corpus)


def form(data: Any) -> str:
    """`table` if a document or a specification names a task, otherwise `text`."""
    if isinstance(data, Mapping):
        return "table" if "task" in data else "text"
    return "table" if isinstance(data, TableSpec) else "text"


AnyData = Annotated[
    Annotated[DataSpec, Tag("text")] | Annotated[TableSpec, Tag("table")], Discriminator(form)
]
"""Specification of the data of a trial: a stream of tokens, or the table of an algorithmic task."""
