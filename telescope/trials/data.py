"""Specification of the data that a trial reads: a text (`DataSpec`) or the table of an algorithmic
task (`TableSpec`).

Both have these attributes and methods, so that callers can treat them alike:

- `context`: number of tokens that the model reads in a window of a text, or in a row of a table
- `windows`: number of windows or rows in a batch
- `tokens_until`: number of tokens in the first steps of a run
- `evaluated_windows`: number of windows or rows in an evaluation
- `has_answers`: true for a table, in which the model predicts only the answers of rows
- `without_split_seed`: the specification without the seed of a table's split
- `sources`: the corpora, tokenizer or file that the specification names
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

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
    out. If a corpus has only one document, its end is held out. If a corpus consists of train.bin
    and val.bin, exactly val.bin is held out."""
    content: str = ""
    """Hash of the training tokens, of the held-out tokens, of vocab_size, and of the shares of a
    mixture. telescope computes it. If you give a hash, it must be equal to the one that telescope
    computes."""
    vocab_size: Annotated[int, Field(ge=0)] = 0
    """Number of entries in the vocabulary. telescope computes it. If you give a number, it must be
    equal to the one that telescope computes."""

    has_answers: ClassVar[bool] = False
    """False: the model predicts every token of a window except the first."""

    @property
    def parts(self) -> tuple[mixtures.Part, ...]:
        """The corpora that windows are drawn from. The weight of a corpus in the result is the
        probability that a window is drawn from it; a single corpus has the weight 1."""
        return mixtures.parts(self.corpus)

    @property
    def sources(self) -> tuple[tuple[str, str], ...]:
        """Pairs of a field's name and its value: one for each corpus, and one for the tokenizer."""
        return (*(("corpus", part.corpus) for part in self.parts), ("tokenizer", self.tokenizer))

    def windows(self, batch_tokens: int) -> int:
        """Number of windows in a batch."""
        return batch_tokens // self.context

    def tokens_until(self, step: int, batch_tokens: int) -> int:
        """Number of tokens in the first `step` batches."""
        return step * batch_tokens

    def evaluated_windows(self, evaluation_tokens: int) -> int:
        """Number of held-out windows that an evaluation asks for, at least one. If fewer windows
        are held out, the evaluation reads fewer. On a mixture, the evaluation may read more, since
        it reads at least one window of each part."""
        return max(1, evaluation_tokens // self.context)

    def without_split_seed(self) -> "DataSpec":
        """This specification: the split of a text has no seed."""
        return self


def form(data: Any) -> str:
    """`table` if `data` is a TableSpec or a mapping with the key `task`; otherwise `text`."""
    if isinstance(data, Mapping):
        return "table" if "task" in data else "text"
    return "table" if isinstance(data, TableSpec) else "text"


AnyData = Annotated[
    Annotated[DataSpec, Tag("text")] | Annotated[TableSpec, Tag("table")], Discriminator(form)
]
"""Specification of the data of a trial: a text, or the table of an algorithmic task."""
