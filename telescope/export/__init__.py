"""Export of an answer to another trainer.

There are three formats: JSON, which contains everything; a Python file that needs only torch; and
flags for Megatron-LM, if flags can express the answer. Exports in all three formats are text that
states the source of its numbers and warns if the answer is not resolved. A refused answer is never
exported.

In reading order: `final_run`, the run that is exported · `families`, what the formats need from a
family of models · `document`, the JSON format · `torch_code`, the Python file, and its parts:
`torch_groups`, `schedule`, `recipe` and `model_source` · `megatron`, the flags, and
`megatron_settings`, the check that flags express the answer.
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
    """The format of an export, and the ladder whose answer is exported: by default the best ladder
    of the best variant."""

    to: Format
    optimizer: OptimizerName | None = None
    variant: str | None = None


def exported(question: Question, report: Report, source: SourceJob, request: ExportRequest) -> str:
    """The answer in the requested format.

    Raises NotExportable if the ladder has no answer or the format cannot express the answer,
    InvalidInput if the request selects no ladder of the report, or names no variant although none
    is the best.
    """
    run = final_run(question, report, source, request.optimizer, request.variant)
    return FORMATS[request.to](run)
