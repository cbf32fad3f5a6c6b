"""The packaged examples, which `telescope examples` lists and prints.

`EXAMPLES` describes each file. The module `huggingface` builds the model that `llama.yaml` trains.
The identity of each training run of this model contains a hash of the text of `huggingface`. So
this text must not change, not even in its formatting: with another hash, earlier runs could not be
reused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from telescope.errors import InvalidInput

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Example:
    """The name of a packaged file, and a summary of the file in one line."""

    file: str
    summary: str

    @property
    def path(self) -> Path:
        return FOLDER / self.file


EXAMPLES: Mapping[str, Example] = {
    "quickstart": Example(
        "quickstart.yaml", "a first job: learning rate and weight decay for Muon at width 256"
    ),
    "architectures": Example(
        "architectures.yaml", "three architectures side by side, each tuned separately"
    ),
    "mixtures": Example(
        "mixtures.yaml", "code, prose and a mixture of both as training data, side by side"
    ),
    "compute_time": Example(
        "compute_time.yaml", "Muon against AdamW: tokens needed to reach a loss, by batch size"
    ),
    "grokking": Example(
        "grokking.yaml", "Muon against AdamW: which one generalises sooner (grokking)"
    ),
    "llama": Example("llama.yaml", "a model of your own: here, Llama of the transformers library"),
    "huggingface": Example(
        "huggingface.py", "the Python module that builds the model of llama.yaml"
    ),
    "sweep": Example(
        "sweep.csv", "results of a sweep run elsewhere, as input for `telescope judge`"
    ),
}


def example(name: str) -> Example:
    """Return the example with this name.

    If there is no such example, raises InvalidInput, whose message lists all names.
    """
    if name not in EXAMPLES:
        raise InvalidInput.of("NAME", f"must be one of: {', '.join(EXAMPLES)}", name)
    return EXAMPLES[name]
