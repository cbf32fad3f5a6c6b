"""Export of an answer to another trainer.

Formats: JSON, which contains everything; Python that needs only torch, to be read and run; or flags
for Megatron-LM, if these can express our rules. All three are text, name their source, and warn if
the answer is not resolved. A refused answer is never exported.

In reading order: `final_run`, the run that is exported and its settings · `document`, JSON ·
`torch_code`, with its parts `schedule`, `recipe` and `model_source` · `megatron`, with
`megatron_settings` · `families`, what the formats need from a family of models.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from telescope.export import document, megatron, torch_code
from telescope.export.final_run import FinalRun, SourceJob, UsedTrial, final_run
from telescope.studies.telescoping.question.question import Question
from telescope.studies.telescoping.report import Report
from telescope.trials.types import OptimizerName

__all__ = ["FORMATS", "ExportRequest", "Format", "SourceJob", "UsedTrial", "exported"]

Format = Literal["torch", "megatron", "json"]
FORMATS: Mapping[Format, Callable[[FinalRun], str]] = {
    "torch": torch_code.module_text,
    "megatron": megatron.flags_text,
    "json": document.json_text,
}


@dataclass(frozen=True)
class ExportRequest:
    """What to export: the answer of one ladder, by default the best, in one format."""

    to: Format
    optimizer: OptimizerName | None = None
    variant: str | None = None


def exported(study: Question, report: Report, source: SourceJob, wanted: ExportRequest) -> str:
    """The answer in the requested format. Raises NotExportable if there is none or the format
    cannot express it."""
    return FORMATS[wanted.to](final_run(study, report, source, wanted.optimizer, wanted.variant))
