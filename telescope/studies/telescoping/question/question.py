"""The question of a telescoping study: the typed document of a user, and values derived from it."""

from dataclasses import field
from typing import Literal

from pydantic.dataclasses import dataclass

from telescope.studies.ranges import Range
from telescope.studies.telescoping.axes import SCALES, AxisName
from telescope.studies.telescoping.question.models import AnyLadderModel
from telescope.studies.telescoping.question.parts import (
    Estimator,
    Limits,
    PaperOptions,
    Search,
    SweepOver,
)
from telescope.trials.data import DataSpec
from telescope.trials.horizon import HorizonSpec
from telescope.trials.optimizer import OptimizerOptions
from telescope.trials.types import STRICT, Count, OptimizerName, Parametrisation, Positive


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Question:
    """The document of a telescoping job."""

    kind: Literal["telescope"] = "telescope"
    """Kind of the study: it finds hyperparameters for a wide model with the help of narrow ones."""
    name: str = "telescope"
    """Name of the job in lists and pictures."""
    optimizer: OptimizerName | tuple[OptimizerName, ...] = "muon"
    """Optimizer of the trials, or a list of both optimizers to compare. Each optimizer has its own
    ladder, a search at increasing widths. In a Muon run, AdamW trains all parameters except hidden
    matrices."""
    adamw_lr_ratio: Positive = 0.5
    """In a Muon run, AdamW's learning rate divided by Muon's, at the base width. It has no effect
    if `search` sweeps this ratio."""
    parametrisation: Parametrisation = "mup"
    """Rules by which hyperparameters change with width: mup is muP, in spectral form for Muon;
    mup-paper is the table of arXiv 2505.02222 as printed; standard scales only initial values, and
    serves as a control."""
    optimizer_options: OptimizerOptions = field(default_factory=OptimizerOptions)
    """Optimizer options that the study does not sweep."""
    model: AnyLadderModel
    """The model at all its widths: telescope's Transformer (`family: transformer`) or a user's
    module (`family: module`)."""
    data: DataSpec
    """Corpus or mixture that the trials train on, and its tokenizer."""
    horizon: HorizonSpec = field(default_factory=lambda: HorizonSpec(steps=120, batch_tokens=512))
    """Length, batch size and learning-rate schedule of every trial; by default 120 steps of 512
    tokens."""
    search: Search
    """Hyperparameters to sweep, and their ranges."""
    schedule: Literal["robust", "paper"] = "robust"
    """Rule that chooses the trials: robust adds trials at the widths where they reduce the
    uncertainty most for their cost; paper is Algorithm 1 of arXiv 2505.02222."""
    paper: PaperOptions = field(default_factory=PaperOptions)
    """Options of `schedule: paper`."""
    estimator: Estimator | None = None
    """Estimator of the answer: pooled fits one statistical model to the losses at all widths,
    per_level fits each width separately, argmin takes the best point at the widest width. The
    default is pooled under `schedule: robust`, and argmin under `schedule: paper`.
    """
    seeds: Count = 1
    """Number of runs per point under `schedule: paper`, each with its own seed. `schedule: robust`
    chooses its seeds itself."""
    limits: Limits = field(default_factory=Limits)
    """Limits of the job. If a limit ends the search, the answer is unresolved. This does not hold
    for max_base_runs: once it is spent, the answer is judged by the runs so far."""
    sweep_over: SweepOver | None = None
    """Architectures or corpora to compare. Each entry has a name, the fields that differ from
    `model` or `data`, and ladders of its own.
    """
    reuse: bool = True
    """Reuse identical finished runs of other jobs instead of training them again. Reused runs cost
    nothing, but count towards max_trials, max_flops and max_base_runs.
    """
    force_pairing: bool = False
    """Train even if the scaling rules are incompatible and would be refused. The report then says
    that they are forced."""
    coordinates: Literal["check", "skip"] = "check"
    """The coordinate check. Under check, short runs before the search test whether updates keep
    their size as width grows. Under skip, there is no such test. If an optimizer fails the test,
    its ladder ends. If its scaling rules are known to be unsound, the failure is only reported.
    """
    validate_at_target: bool = False
    """At the end, also train at the target width, at the reported learning rate and around it. The
    report then states how much higher the loss is at the reported learning rate than at the best
    learning rate at the target width."""

    @property
    def estimated_by(self) -> Estimator:
        """The chosen estimator, or the schedule's default."""
        return self.estimator or ("argmin" if self.schedule == "paper" else "pooled")

    @property
    def optimizers(self) -> tuple[OptimizerName, ...]:
        """The optimizers as a tuple; every variant has a ladder for each of them."""
        return (self.optimizer,) if isinstance(self.optimizer, str) else self.optimizer

    @property
    def batches(self) -> tuple[int, ...]:
        """The batch sizes in tokens. This kind of study has a single batch size."""
        return (self.horizon.batch_tokens,)


def ranges(question: Question, optimizer: OptimizerName) -> dict[AxisName, Range]:
    """The ranges of the hyperparameters that an optimizer's ladder sweeps, learning rate first."""
    searched = {
        name: getattr(question.search, name)
        for name in SCALES
        if name != "adamw_lr_ratio" or optimizer == "muon"
    }
    return {name: swept for name, swept in searched.items() if isinstance(swept, Range)}
