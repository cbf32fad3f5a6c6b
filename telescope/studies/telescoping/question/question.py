"""The question of a telescoping study: a user's document, typed, and what follows from its fields alone."""

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
    """How the answer is drawn from the runs; by default pooled, and under `paper` argmin, as published."""
    seeds: Count = 1
    """Runs per point under `paper`; `robust` buys seeds itself, where they remove most doubt per cost."""
    limits: Limits = field(default_factory=Limits)
    sweep_over: SweepOver | None = None
    """Compare architectures, or texts: ladders for each entry, a name and the fields that it has otherwise than `model`, or `data`."""
    reuse: bool = True
    """Take over finished runs of other jobs that are the same in every respect, instead of training them again; they cost nothing."""
    force_pairing: bool = False
    """Run scaling rules that do not go together all the same; the result is marked."""
    coordinates: Literal["check", "skip"] = "check"
    """Before anything else, see in a few steps whether the parametrisation keeps updates of one size over the widths. A failure ends the
    ladder, unless its pairing is known to be unsound: then it is reported."""
    validate_at_target: bool = False
    """At the end, train at the target width too, at the learning rate handed out and beside it, and report what it costs there."""

    @property
    def estimated_by(self) -> Estimator:
        """The estimator asked for, or the schedule's own."""
        return self.estimator or ("argmin" if self.schedule == "paper" else "pooled")

    @property
    def optimizers(self) -> tuple[OptimizerName, ...]:
        """One ladder each, for every variant."""
        return (self.optimizer,) if isinstance(self.optimizer, str) else self.optimizer

    @property
    def batches(self) -> tuple[int, ...]:
        """Batch sizes in tokens: one."""
        return (self.horizon.batch_tokens,)


def ranges(question: Question, optimizer: OptimizerName) -> dict[AxisName, Range]:
    """What a ladder sweeps, learning rate first."""
    named = {name: getattr(question.search, name) for name in SCALES if name != "adamw_lr_ratio" or optimizer == "muon"}
    return {name: found for name, found in named.items() if isinstance(found, Range)}
