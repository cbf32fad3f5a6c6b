"""The runs of a grokking study: the specification of a run, and when it generalised.

A run generalises when its accuracy on the held-out rows reaches 95 %. There are two readings of
this event, `crossed` and `sustained` (telescope.trials.milestones).

Parts: `Cell` and `cells_of`, the comparisons of a study · `Hyperparameters` · `run_spec`, the
specification of a run · `RunTiming`, when a finished run reached its milestones, in epochs, steps,
FLOPs or seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import Any, Literal

from telescope.studies.grokking.question import Question
from telescope.studies.grokking.reasons import CellName
from telescope.trials.horizon import HorizonSpec
from telescope.trials.milestones import Milestones, Moment, from_metrics
from telescope.trials.optimizer import OptimizerOptions, OptimizerSpec
from telescope.trials.outcome import Trial
from telescope.trials.spec import TrialSpec
from telescope.trials.table import TableSpec
from telescope.trials.types import OptimizerName, SoftmaxName

EventName = Literal["crossed", "sustained"]
Unit = Literal["steps", "flops", "seconds"]
TUNING_SEED = 1_000_000  # first seed of tuning runs, far above the seeds of the comparison


@dataclass(frozen=True)
class Cell:
    """A task and a softmax: one comparison of the optimizers."""

    table: TableSpec
    softmax: SoftmaxName

    @property
    def name(self) -> CellName:
        """The name of the cell in reports."""
        return CellName(task=self.table.title, softmax=self.softmax)


@dataclass(frozen=True)
class Hyperparameters:
    """The hyperparameters of an optimizer in a cell."""

    lr: float
    weight_decay: float
    adamw_lr_ratio: float | None  # None for AdamW itself


def cells_of(question: Question) -> tuple[Cell, ...]:
    """The cells of a study, in the order of the document."""
    return tuple(Cell(*pair) for pair in product(question.tables, question.softmaxes))


@lru_cache(maxsize=65_536)
def run_spec(
    question: Question, cell: Cell, optimizer: OptimizerName, values: Hyperparameters, seed: int
) -> TrialSpec:
    """A run of an optimizer in a cell. The seed sets the split of the table, the initial values,
    the order of the rows and the random numbers of dropout. These are the same for all
    optimizers."""
    table = replace(cell.table, split_seed=seed)
    return TrialSpec(
        model=question.model.spec,
        optimizer=optimizer_spec(question, optimizer, values),
        data=table,
        horizon=horizon_of(question, table),
        seed=seed,
        softmax=cell.softmax,
    )


def optimizer_spec(
    question: Question, optimizer: OptimizerName, values: Hyperparameters
) -> OptimizerSpec:
    """The optimizer with these hyperparameters and the question's options."""
    options: dict[str, Any] = {
        name: getattr(question.optimizer_options, name)
        for name in OptimizerOptions.__dataclass_fields__
    }
    if values.adamw_lr_ratio is not None:
        options["adamw_lr_ratio"] = values.adamw_lr_ratio
    return OptimizerSpec(
        name=optimizer,
        lr=values.lr,
        weight_decay=values.weight_decay,
        parametrisation=question.parametrisation,
        **options,
    )


def horizon_of(question: Question, table: TableSpec) -> HorizonSpec:
    """The horizon (batches, length and evaluations) of a run. The sizes of the table must be filled
    in."""
    runs = question.runs
    batch_tokens = table.windows(runs.batch_rows * table.context) * table.context
    per_epoch = table.steps_per_epoch(batch_tokens)
    steps, interval = runs.epochs * per_epoch, runs.evaluate_epochs * per_epoch
    # half a step less than the warm-up, since the number of warm-up steps is computed from this
    # fraction and rounded up
    warmup_fraction = max(0.0, (min(runs.warmup_steps, steps) - 0.5) / steps)
    return HorizonSpec(
        steps=steps,
        batch_tokens=batch_tokens,
        warmup_fraction=warmup_fraction,
        decay="constant",
        evaluate_every=interval,
        record_every=interval,
        sustained_evaluations=runs.sustained_evaluations,
        stop_when_sustained=runs.stop,
    )


def table_of(spec: TrialSpec) -> TableSpec:
    """The table that a run trains on."""
    assert isinstance(spec.data, TableSpec), "a grokking study trains on tables"
    return spec.data


@dataclass(frozen=True)
class RunTiming:
    """When a finished run reached its milestones."""

    trial: Trial
    milestones: Milestones

    @classmethod
    def of(cls, trial: Trial) -> "RunTiming":
        """The timing of a finished run."""
        return cls(trial, from_metrics(trial.metrics))

    def reached(self, event: EventName) -> Moment | None:
        """The evaluation at which the run generalised; None if it never did."""
        return self.milestones.crossed if event == "crossed" else self.milestones.sustained

    def time(self, event: EventName, unit: Unit = "steps", earliest: bool = False) -> float | None:
        """The time of the evaluation at which the run generalised, or of the evaluation before it
        if `earliest` is true. None if the run never generalised."""
        moment = self.reached(event)
        if moment is None:
            return None
        late, early = MOMENT_FIELDS[unit]
        return float(getattr(moment, early if earliest else late))

    def epochs(self, moment: Moment | None) -> float | None:
        """The number of epochs up to a moment; None if there is no moment."""
        if moment is None:
            return None
        spec = self.trial.spec
        return moment.step / table_of(spec).steps_per_epoch(spec.horizon.batch_tokens)


MOMENT_FIELDS: Mapping[Unit, tuple[str, str]] = {
    "steps": ("step", "previous_step"),
    "flops": ("flops", "previous_flops"),
    "seconds": ("seconds", "previous_seconds"),
}
"""For each unit, two fields of a `Moment`: the time of the evaluation, and the time of the previous
evaluation."""
