"""The data of a run in training: its batches, and what an evaluation of the model measures.

A *window* is a sequence of `context` + 1 tokens of a text. A *table* holds the questions of an
algorithmic task, each in a row with its answer.

Parts: `TrainingData`, the interface · `TextData`, windows of a text · `TableData`, rows of a table
· `training_data`, the data of a trial.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from telescope.data import algorithmic, batches
from telescope.models.family import Model
from telescope.train import table_evaluation
from telescope.train.evaluation import HeldOut
from telescope.train.flops import evaluation_flops
from telescope.trials.data import DataSpec
from telescope.trials.milestones import (
    EVALUATION_FLOPS,
    EVALUATION_SECONDS,
    as_metrics,
    is_settled,
    milestones_of,
)
from telescope.trials.outcome import Measurement
from telescope.trials.spec import TrialSpec
from telescope.trials.table import TableSpec


class TrainingData(Protocol):
    """The batches of a run, and its evaluations."""

    @property
    def evaluated_windows(self) -> int:
        """Number of windows, or rows of a table, that an evaluation reads."""
        ...

    def batch(self, step: int) -> Tensor:  # (windows, context + 1)
        """The windows or rows of a step."""
        ...

    def observe_step(self, model: Model, evaluation_follows: bool) -> None:
        """Look at the gradients of a step, before the optimizer uses them. `evaluation_follows` is
        true if the model is evaluated after this step."""
        ...

    def evaluate(self, model: Model, device: torch.device) -> dict[str, float]:
        """Metrics of the model as it is now. One of them is `loss`, the held-out loss, which is inf
        if it is not finite."""
        ...

    def ends_run(self, curve: Sequence[Measurement], evaluation: Mapping[str, float]) -> bool:
        """True if the run ends with this evaluation. `curve` has the points before `evaluation`."""
        ...

    def summary(self, curve: Sequence[Measurement]) -> dict[str, float]:
        """Further metrics of a run's last point, computed from the whole curve."""
        ...


class TextData:
    """Windows of a text, and the held-out loss."""

    def __init__(self, spec: TrialSpec, text: DataSpec) -> None:
        self.spec = spec
        self.tokens = batches.open_tokens(text)
        self.held_out = HeldOut.of(spec, self.tokens)

    @property
    def evaluated_windows(self) -> int:
        return self.held_out.count

    def batch(self, step: int) -> Tensor:
        spec = self.spec
        return batches.batch(self.tokens.train, spec.seed, step, spec.windows, spec.data.context)

    def observe_step(self, model: Model, evaluation_follows: bool) -> None:
        """Do nothing: runs on a text record no gradients."""

    def evaluate(self, model: Model, device: torch.device) -> dict[str, float]:
        return {"loss": self.held_out.loss(model, device)}

    def ends_run(self, curve: Sequence[Measurement], evaluation: Mapping[str, float]) -> bool:
        target = self.spec.horizon.stop_below_loss
        return target is not None and evaluation["loss"] <= target

    def summary(self, curve: Sequence[Measurement]) -> dict[str, float]:
        return {}


class TableData:
    """Rows of a table, and all that an evaluation on its training and held-out rows measures."""

    def __init__(self, spec: TrialSpec, table: TableSpec) -> None:
        self.spec = spec
        self.table = algorithmic.open_table(table)
        # metrics of the gradients at the last step that an evaluation followed
        self.gradients: dict[str, float] = {}

    @property
    def evaluated_windows(self) -> int:
        return len(self.table.train) + len(self.table.held_out)

    def batch(self, step: int) -> Tensor:
        return algorithmic.rows_of_step(self.table, self.spec.seed, step, self.spec.windows)

    def observe_step(self, model: Model, evaluation_follows: bool) -> None:
        if evaluation_follows:
            self.gradients = table_evaluation.gradient_metrics(model)

    def evaluate(self, model: Model, device: torch.device) -> dict[str, float]:
        began = time.perf_counter()
        metrics = table_evaluation.evaluate(model, self.table, self.spec.softmax, device)
        metrics[EVALUATION_FLOPS] = evaluation_flops(self.spec)
        metrics[EVALUATION_SECONDS] = time.perf_counter() - began
        return metrics | self.gradients

    def ends_run(self, curve: Sequence[Measurement], evaluation: Mapping[str, float]) -> bool:
        horizon = self.spec.horizon
        if not horizon.stop_when_sustained or horizon.sustained_evaluations is None:
            return False
        return is_settled(curve, evaluation, horizon.sustained_evaluations)

    def summary(self, curve: Sequence[Measurement]) -> dict[str, float]:
        """The milestones of the run (telescope.trials.milestones), such as the step at which the
        run memorised the training rows."""
        return as_metrics(milestones_of(curve, self.spec.horizon.sustained_evaluations or 1))


def training_data(spec: TrialSpec) -> TrainingData:
    """The data of a trial."""
    data = spec.data
    return TableData(spec, data) if isinstance(data, TableSpec) else TextData(spec, data)
