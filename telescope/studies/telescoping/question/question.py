"""The question of a telescoping study: the user's document, typed, and values derived from it."""

from dataclasses import field
from typing import Literal

from pydantic.dataclasses import dataclass

from telescope.studies.ranges import Range
from telescope.studies.telescoping.axes import SCALES, AxisName
from telescope.studies.telescoping.question.models import AnyLadder
from telescope.studies.telescoping.question.parts import Estimator, Limits, PaperOptions, Search, SweepOver
from telescope.trials.data import DataSpec
from telescope.trials.horizon import HorizonSpec
from telescope.trials.optimizer import OptimizerOptions
from telescope.trials.types import STRICT, Count, OptimizerName, Parametrisation, Positive


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Question:
    """The document of a telescoping job."""

    kind: Literal["telescope"] = "telescope"
    name: str = "telescope"
    optimizer: OptimizerName | tuple[OptimizerName, ...] = "muon"
    adamw_lr_ratio: Positive = 0.5
    parametrisation: Parametrisation = "mup"
    optimizer_options: OptimizerOptions = field(default_factory=OptimizerOptions)
    model: AnyLadder
    data: DataSpec
    horizon: HorizonSpec = field(default_factory=lambda: HorizonSpec(steps=120, batch_tokens=512))
    search: Search
    schedule: Literal["robust", "paper"] = "robust"
    paper: PaperOptions = field(default_factory=PaperOptions)
    estimator: Estimator | None = None
    """Estimator of the answer; by default pooled, and under `paper` argmin, as published."""
    seeds: Count = 1
    """Runs per point under `paper`; `robust` adds seeds itself, where they reduce the uncertainty
    most per cost.
    """
    limits: Limits = field(default_factory=Limits)
    sweep_over: SweepOver | None = None
    """Compare architectures or texts: separate ladders for each entry, which has a name and the
    fields that differ from `model` or `data`.
    """
    reuse: bool = True
    """Reuse finished runs of other jobs that are identical in every respect instead of training
    them again; they cost nothing.
    """
    force_pairing: bool = False
    """Run incompatible scaling rules anyway; the result is marked."""
    coordinates: Literal["check", "skip"] = "check"
    """First check in a few steps whether the parametrisation keeps the size of updates constant
    over the widths. A failure ends the ladder, unless its pairing is known to be unsound; then it
    is only reported.
    """
    validate_at_target: bool = False
    """At the end, also train at the target width, at the reported learning rate and around it, and
    report its cost there."""

    @property
    def estimated_by(self) -> Estimator:
        """The chosen estimator, or the schedule's default."""
        return self.estimator or ("argmin" if self.schedule == "paper" else "pooled")

    @property
    def optimizers(self) -> tuple[OptimizerName, ...]:
        """The optimizers, with a ladder each for every variant."""
        return (self.optimizer,) if isinstance(self.optimizer, str) else self.optimizer

    @property
    def batches(self) -> tuple[int, ...]:
        """The batch size in tokens, as a tuple of one."""
        return (self.horizon.batch_tokens,)


def ranges(question: Question, optimizer: OptimizerName) -> dict[AxisName, Range]:
    """The swept ranges of a ladder, learning rate first."""
    named = {name: getattr(question.search, name) for name in SCALES if name != "adamw_lr_ratio" or optimizer == "muon"}
    return {name: found for name, found in named.items() if isinstance(found, Range)}
