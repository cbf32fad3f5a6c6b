"""How does an answer leave for somebody else's trainer?

As JSON, which has everything; as Python that needs torch alone, to be read and run; or as flags for
Megatron-LM, where its rules can express ours. All three are text, say where they come from, and
warn where the answer is not resolved. A refused answer leaves in no form.

In reading order: `final_run`, which run is exported and what it sets · `document`, JSON ·
`torch_code`, with `schedule`, `recipe` and `model_source`, which it consists of · `megatron`, with
`megatron_settings` · `families`, what they ask of the family of a model.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from telescope.export import document, megatron, torch_code
from telescope.export.final_run import FinalRun, Source, UsedTrial, final_run
from telescope.studies.telescoping.question.question import Question
from telescope.studies.telescoping.report import Report
from telescope.trials.types import OptimizerName

__all__ = ["FORMATS", "Format", "Source", "UsedTrial", "Wanted", "exported"]

Format = Literal["torch", "megatron", "json"]
FORMATS: Mapping[Format, Callable[[FinalRun], str]] = {
    "torch": torch_code.text,
    "megatron": megatron.text,
    "json": document.text,
}


@dataclass(frozen=True)
class Wanted:
    """What is exported: the answer of one ladder, by default the best, in one form."""

    to: Format
    optimizer: OptimizerName | None = None
    variant: str | None = None


def exported(study: Question, report: Report, source: Source, wanted: Wanted) -> str:
    """An answer as it is wanted; NotExportable where there is none or the form cannot express
    it."""
    return FORMATS[wanted.to](final_run(study, report, source, wanted.optimizer, wanted.variant))
