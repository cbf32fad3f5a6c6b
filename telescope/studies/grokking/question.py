"""The question of a grokking study: the user's document and its sections.

A study compares Muon with AdamW on small tasks whose complete table of questions and answers is
known, such as addition modulo 97. A *cell* is a task together with a variant of softmax; each cell
is a comparison of its own, with the same seeds for both optimizers.

Parts: `GrokkingOptions`, the optimizers' options · `GrokkingRuns`, the batches, length and
evaluations of runs · `Fixed` and `HyperparameterSearch`, the two sources of hyperparameters ·
`GrokkingLimits` · `Question`.
"""

from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from telescope.studies.grokking.models import AnyGrokkingModel, GrokkingModel
from telescope.studies.ranges import Range
from telescope.trials.optimizer import OptimizerOptions
from telescope.trials.table import TableSpec
from telescope.trials.types import (
    STRICT,
    Count,
    DescribesInherited,
    NonNegative,
    OptimizerName,
    Parametrisation,
    Positive,
    SoftmaxName,
)

MOST_TRIALS = 100_000  # the largest value that `limits.max_trials` may have


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GrokkingOptions(OptimizerOptions, DescribesInherited):
    """Options of Muon and AdamW. Jobs of other kinds have another default of `beta2`."""

    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.98
    """AdamW's decay rate, per step, of the running mean of the squared gradient; 0.98 as in arXiv
    2504.16041."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GrokkingRuns:
    """The batches, the length and the evaluations of a run.

    An epoch reads each training row once.
    """

    epochs: Count
    """Largest number of epochs of a run. A run that has not generalised by then is a result,
    too."""
    batch_rows: Count = 512
    """Rows per batch. If there are fewer training rows, a batch has all of them. The last batch of
    an epoch may be smaller."""
    evaluate_epochs: Count = 1
    """Number of epochs between evaluations. The time at which a run memorises or generalises is
    known only to within this interval."""
    sustained_evaluations: Count = 5
    """Number of evaluations in a row, with an accuracy of at least 95 % on the held-out rows, that
    count as sustained generalisation."""
    stop: bool = True
    """End a run once it has memorised the training rows, has reached 95 % on the held-out rows
    since then, and has generalised for `sustained_evaluations` evaluations in a row. false: train
    for all epochs, which shows later collapses."""
    warmup_steps: Annotated[int, Field(ge=0, le=1_000_000)] = 10
    """Steps in which the learning rate rises from zero; afterwards it is constant."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Fixed:
    """Hyperparameters under `protocol: paper`. All optimizers share `lr` and `weight_decay`. arXiv
    2504.16041 states neither; the defaults are AdamW's values in the public code of this paper."""

    lr: Positive = 1e-3
    """Learning rate."""
    weight_decay: NonNegative = 1.0
    """Weight decay."""
    adamw_lr_ratio: Positive = 1.0
    """In a Muon run: AdamW's learning rate divided by Muon's."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class HyperparameterSearch:
    """The grid of hyperparameters that each optimizer searches in each cell, under `protocol:
    tuned`. A search can add values beyond the ends of the grid (see `extensions`)."""

    lr: Range
    """Learning rates, the same grid for all optimizers."""
    weight_decay: Annotated[tuple[Positive, ...], Field(min_length=1)] = (0.3, 1.0, 3.0)
    """Weight decays. A single value is not searched, and the report says so."""
    adamw_lr_ratio: Annotated[tuple[Positive, ...], Field(min_length=1)] = (0.1, 0.3, 1.0)
    """In a Muon run: AdamW's learning rate divided by Muon's. A single value is not searched, and
    the report says so."""
    seeds: Count = 1
    """Runs per point of the grid. Their seeds take no part in the comparison."""
    extensions: Annotated[int, Field(ge=0, le=16)] = 4
    """Largest number of values that a search adds beyond its grid. A search adds a value if, among
    several values of a hyperparameter, the best is the lowest or the highest. Values of lr are
    added only if `lr.extend` is true."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GrokkingLimits:
    """Limits of a grokking job."""

    max_parallel: Count | None = None
    """Largest number of trials of the job that run at once. By default, the job has no such
    limit."""
    max_trials: Annotated[int, Field(ge=1, le=MOST_TRIALS)] = 2000
    """Largest number of trials of the job. A study that might need more is refused."""
    max_seconds: Positive | None = None
    """Number of seconds, pauses excluded, after which no new stage (a set of trials that are
    planned together) begins. A stage that has begun is still completed."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Question:
    """The document of a grokking job."""

    kind: Literal["grokking"] = "grokking"
    """Kind of the study: it compares when optimizers generalise on algorithmic tasks."""
    name: str = "grokking"
    """Name of the job in lists and pictures."""
    protocol: Literal["paper", "tuned"] = "tuned"
    """paper: all optimizers share one learning rate and weight decay, as in arXiv 2504.16041;
    tuned: each optimizer has its own search in each cell, with seeds other than those of the
    comparison."""
    optimizer: OptimizerName | tuple[OptimizerName, ...] = ("muon", "adamw")
    """Optimizers to compare, or a single one."""
    parametrisation: Parametrisation = "standard"
    """Rules by which hyperparameters depend on width. A grokking job trains at one width, so the
    rules matter only for the default of `update_scale` and for `lr_convention: absolute`, which
    needs mup-paper."""
    optimizer_options: GrokkingOptions = field(default_factory=GrokkingOptions)
    """Optimizer options that the study does not tune."""
    model: AnyGrokkingModel = field(default_factory=lambda: GrokkingModel(preset="grokking"))
    """The model that every run trains; by default that of the public code for arXiv
    2504.16041."""
    data: TableSpec | Annotated[tuple[TableSpec, ...], Field(min_length=1)]
    """Task, or several tasks, on which the optimizers are compared."""
    softmax: SoftmaxName | Annotated[tuple[SoftmaxName, ...], Field(min_length=1)] = "softmax"
    """Softmax of the loss, or several, with which the optimizers are compared. softmax:
    cross-entropy. stablemax: cross-entropy of probabilities that cannot saturate (arXiv
    2501.04697). sparsemax: the loss of sparsemax, whose probabilities can be exactly 0 (arXiv
    1602.02068)."""
    runs: GrokkingRuns
    """Batches, length and evaluations of the runs."""
    fixed: Fixed | None = None
    """Under protocol paper: the hyperparameters. If left out, the defaults of its fields apply."""
    tuning: HyperparameterSearch | None = None
    """Under protocol tuned: the search for hyperparameters."""
    seeds: Annotated[int, Field(ge=1, le=1000)] = 8
    """Seeds per optimizer and cell. A seed sets the split, the initial values, the order of the
    rows and dropout, the same for all optimizers. With n seeds, the exact paired permutation test
    cannot give p below 2 / 2^n."""
    limits: GrokkingLimits = field(default_factory=GrokkingLimits)
    """Limits of the job."""
    reuse: bool = True
    """Reuse identical finished runs of other jobs instead of training them again; reused runs cost
    nothing."""

    @property
    def optimizers(self) -> tuple[OptimizerName, ...]:
        """The optimizers to compare."""
        return (self.optimizer,) if isinstance(self.optimizer, str) else self.optimizer

    @property
    def tables(self) -> tuple[TableSpec, ...]:
        """The tasks."""
        return self.data if isinstance(self.data, tuple) else (self.data,)

    @property
    def tables_by_field(self) -> dict[str, TableSpec]:
        """The tasks, keyed by the field of the document that holds each."""
        if isinstance(self.data, TableSpec):
            return {"data": self.data}
        return {f"data.{i}": table for i, table in enumerate(self.data)}

    @property
    def softmaxes(self) -> tuple[SoftmaxName, ...]:
        """The softmaxes of the loss."""
        return (self.softmax,) if isinstance(self.softmax, str) else self.softmax

    @property
    def shared(self) -> Fixed:
        """The hyperparameters under protocol paper."""
        return self.fixed or Fixed()

    @property
    def batches(self) -> tuple[int, ...]:
        """Distinct batch sizes in tokens, ascending. A task with fewer training rows than
        `runs.batch_rows` has smaller batches."""
        return tuple(sorted({self.runs.batch_rows * table.context for table in self.tables}))
