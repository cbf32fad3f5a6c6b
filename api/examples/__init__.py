"""The packaged examples, which `telescope examples` lists and prints.

`EXAMPLES` describes each file. `huggingface` holds the model that `llama.yaml` trains; a hash of
this module is part of the identity of every trial of the model, so it is never reformatted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from telescope.errors import InvalidInput

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Example:
    """A packaged file, and one line that summarises it."""

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
        "architectures.yaml", "three architectures side by side, a ladder for each"
    ),
    "mixtures": Example(
        "mixtures.yaml", "code, prose and a mixture of both as training data, side by side"
    ),
    "compute_time": Example(
        "compute_time.yaml", "Muon against AdamW: tokens to a loss at each batch size"
    ),
    "llama": Example("llama.yaml", "your own model: the Llama model of the transformers library"),
    "huggingface": Example("huggingface.py", "the model factories that llama.yaml names"),
    "sweep": Example("sweep.csv", "a sweep that was run elsewhere, for `telescope judge`"),
}


def example(name: str) -> Example:
    """Return the example with this name; raise InvalidInput, which lists all names, if unknown."""
    if name not in EXAMPLES:
        raise InvalidInput.of("NAME", f"must be one of: {', '.join(EXAMPLES)}", name)
    return EXAMPLES[name]
