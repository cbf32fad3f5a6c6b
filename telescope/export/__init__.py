"""Export of an answer, for use by another trainer.

An answer is a set of hyperparameters for a model at its target width. There are three formats. The
format `json` is a document that can express every answer. The format `torch` is a Python file whose
code needs only torch. The format `megatron` is a list of flags for Megatron-LM. The formats `torch`
and `megatron` refuse an answer that they cannot express.

In each format, the export is a text that states the source of its numbers. An answer has a verdict,
which says how certain the answer is. The text contains a warning unless the verdict is `resolved`.
An answer with the verdict `refused` is never exported.

In reading order: `final_run`, the run that is exported · `families`, what the formats need from a
family of models · `document`, the JSON format · `torch_code`, the Python file, and its parts
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
    """The format of an export, and the choice of the answer that is exported.

    A job has an answer for each optimizer. If the job compares several architectures or texts, its
    *variants*, it has an answer for each optimizer and variant. By default, the answer of the best
    optimizer for the best variant is exported. If the best optimizer is not known, the answer of
    the first optimizer is exported.
    """

    to: Format
    optimizer: OptimizerName | None = None
    variant: str | None = None


def exported(question: Question, report: Report, source: SourceJob, request: ExportRequest) -> str:
    """The answer in the requested format.

    Raises NotExportable if the requested answer does not exist or has the verdict `refused`, or if
    the format cannot express this answer. Raises InvalidInput if the job does not have the
    requested optimizer or variant. Also raises InvalidInput if the request names no variant, and
    the job compares several variants of which none is known to be the best.
    """
    run = final_run(question, report, source, request.optimizer, request.variant)
    return FORMATS[request.to](run)
