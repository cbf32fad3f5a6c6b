"""The progress of a grokking study, found by replaying the study over its completed trials.

A *cell* is a task with a variant of softmax. In each cell, the study compares its optimizers. An
*arm* is one optimizer in one cell. An arm first needs hyperparameters: the values that all
optimizers share (`protocol: paper`), or the result of the arm's own search (`protocol: tuned`).
Then the arm has one run per seed. No arm waits for another arm.

Parts: `ArmProgress`, the progress of an arm · `CellProgress`, the arms of a cell · `StudyProgress`
and `progress`, the progress of all cells.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from telescope.studies.grokking.question import Question
from telescope.studies.grokking.runs import Cell, Hyperparameters, RunTiming, cells_of, run_spec
from telescope.studies.grokking.search import SearchProgress, search_progress
from telescope.studies.grokking.wording import cell_title
from telescope.studies.kind import Label, Planned
from telescope.trials.outcome import Trial, TrialState
from telescope.trials.spec import TrialSpec
from telescope.trials.types import OptimizerName


@dataclass(frozen=True)
class ArmProgress:
    """The progress of an arm, which is one optimizer in one cell."""

    optimizer: OptimizerName
    search: SearchProgress | None  # None under `protocol: paper`, which has no search
    values: Hyperparameters | None  # None while the search goes on
    runs: Mapping[int, RunTiming]  # finished runs of the comparison, by seed
    missing: tuple[TrialSpec, ...]  # runs of the comparison that can start now

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All completed trials of the arm, including the trials of the search."""
        searched = self.search.trials if self.search else ()
        return (*searched, *(timing.trial for timing in self.runs.values()))


@dataclass(frozen=True)
class CellProgress:
    """The progress of a cell, with an arm per optimizer."""

    cell: Cell
    arms: tuple[ArmProgress, ...]

    def arm(self, optimizer: OptimizerName) -> ArmProgress | None:
        """The arm of an optimizer; None if the study does not compare this optimizer."""
        return next((arm for arm in self.arms if arm.optimizer == optimizer), None)

    @property
    def complete(self) -> bool:
        """True if no run of the comparison or of a search is missing."""
        return all(arm.values is not None and not arm.missing for arm in self.arms)


@dataclass(frozen=True)
class StudyProgress:
    """The progress of all cells."""

    cells: tuple[CellProgress, ...]

    @property
    def missing(self) -> tuple[Planned, ...]:
        """The missing runs that can start now, without duplicates."""
        several_cells = len(self.cells) > 1
        planned = [
            Planned(
                spec,
                Label(
                    arm.optimizer,
                    stage,
                    variant=cell_title(cell.cell.name) if several_cells else "",
                ),
            )
            for cell in self.cells
            for arm in cell.arms
            for stage, specs in (
                ("tuning", arm.search.missing if arm.search else ()),
                ("runs", arm.missing),
            )
            for spec in specs
        ]
        return tuple({item.spec.digest: item for item in planned}.values())


def progress(question: Question, trials: Sequence[Trial]) -> StudyProgress:
    """Replay the study over the completed trials."""
    completed = {trial.digest: trial for trial in trials if trial.state is TrialState.COMPLETED}
    return StudyProgress(
        tuple(
            CellProgress(
                cell,
                tuple(
                    arm_progress(question, cell, optimizer, completed)
                    for optimizer in question.optimizers
                ),
            )
            for cell in cells_of(question)
        )
    )


def arm_progress(
    question: Question, cell: Cell, optimizer: OptimizerName, completed: Mapping[str, Trial]
) -> ArmProgress:
    """The progress of an optimizer in a cell, replayed over the completed trials."""
    search = None
    if question.protocol == "tuned":
        search = search_progress(question, cell, optimizer, completed)
    values = search.values if search else shared_values(question, optimizer)
    if values is None:
        return ArmProgress(optimizer, search, None, {}, ())
    specs = {
        seed: run_spec(question, cell, optimizer, values, seed) for seed in range(question.seeds)
    }
    runs = {
        seed: RunTiming.of(completed[spec.digest])
        for seed, spec in specs.items()
        if spec.digest in completed
    }
    missing = tuple(spec for spec in specs.values() if spec.digest not in completed)
    return ArmProgress(optimizer, search, values, runs, missing)


def shared_values(question: Question, optimizer: OptimizerName) -> Hyperparameters:
    """The hyperparameters of an optimizer under `protocol: paper`."""
    shared = question.shared
    ratio = shared.adamw_lr_ratio if optimizer == "muon" else None
    return Hyperparameters(shared.lr, shared.weight_decay, ratio)
