"""How does an answer leave for somebody else's trainer?

As JSON, which has everything; as Python that needs torch alone, to be read and run; or as flags for Megatron-LM, where its rules can
express ours. All three are text, say where they come from, and warn where the answer is not resolved. A refused answer leaves in no form.

Parts: `final_run`, which run is exported and what it sets · `document`, JSON · `torch_code`, with `recipe` and `model_source`, which it
consists of · `megatron` · `families`, what they ask of the family of a model.
"""

from collections.abc import Callable, Mapping
from typing import Literal

from telescope.export import document, megatron, torch_code
from telescope.export.final_run import FinalRun, Source, UsedTrial, final_run
from telescope.studies.telescoping.question.question import Question
from telescope.studies.telescoping.report import Report
from telescope.trials.types import OptimizerName

__all__ = ["FORMATS", "Format", "Source", "UsedTrial", "exported"]

Format = Literal["torch", "megatron", "json"]
FORMATS: Mapping[Format, Callable[[FinalRun], str]] = {"torch": torch_code.text, "megatron": megatron.text, "json": document.text}


def exported(
    study: Question, report: Report, source: Source, to: Format, optimizer: OptimizerName | None = None, variant: str | None = None
) -> str:
    """The answer of one ladder, by default the best, in a form; NotExportable where there is none or the form cannot express it."""
    return FORMATS[to](final_run(study, report, source, optimizer, variant))
