"""The search for an optimizer's hyperparameters in a cell (one task with one softmax).

The search starts with a full grid over learning rate, weight decay and, for Muon, the ratio of
AdamW's learning rate to Muon's. These hyperparameters are the *axes* of the grid. The score of a
point is the mean, over the tuning seeds, of the steps to sustained generalisation. A run that never
generalises counts with the steps of its whole budget, even if it diverged. Points with equal scores
are ordered by their mean final loss.

If the best value of an axis with several values is the lowest or highest tried, the search adds a
value beyond this end. In octaves (factors of 2), the distance from the end to the new value equals
the distance from the end to the nearest value tried. The search adds one value at a time, and at
most `tuning.extensions` values. If `tuning.lr.extend` is false, it adds no learning rates.

On the axes that Muon and AdamW both have, their searches start with the same values, and add values
by the same rule.

Parts: `SearchProgress` and `search_progress` · `first_axes` · `edges_of` · `most_tuning_trials`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from telescope.studies.grokking.question import HyperparameterSearch, Question
from telescope.studies.grokking.reasons import AxisEdge, SearchAxis
from telescope.studies.grokking.runs import TUNING_SEED, Cell, Hyperparameters, RunTiming, run_spec
from telescope.studies.ranges import grid_octaves
from telescope.trials.lattice import from_octaves, snap
from telescope.trials.outcome import Trial
from telescope.trials.spec import TrialSpec
from telescope.trials.types import OptimizerName

Axes = Mapping[SearchAxis, tuple[float, ...]]
"""The values tried on each axis, ascending, in octaves (as logarithms to base 2)."""


@dataclass(frozen=True)
class SearchProgress:
    """The search of an optimizer in a cell so far."""

    values: Hyperparameters | None  # the best point; None while runs are missing
    edges: tuple[AxisEdge, ...]  # see `edges_of`; empty while runs are missing
    axes: Axes
    trials: tuple[Trial, ...]
    missing: tuple[TrialSpec, ...]

    @property
    def generalised(self) -> bool:
        """True if a run of the search generalised. Otherwise the final loss alone decides."""
        return any(RunTiming.of(trial).reached("sustained") for trial in self.trials)


def first_axes(tuning: HyperparameterSearch, optimizer: OptimizerName) -> Axes:
    """The grid of an optimizer before any extension."""
    axes: dict[SearchAxis, tuple[float, ...]] = {
        "lr": grid_octaves(tuning.lr),
        "weight_decay": in_octaves(tuning.weight_decay),
    }
    if optimizer == "muon":
        axes["adamw_lr_ratio"] = in_octaves(tuning.adamw_lr_ratio)
    return axes


def in_octaves(values: Sequence[float]) -> tuple[float, ...]:
    """The logarithms of values to base 2, rounded as in telescope.trials.lattice, ascending."""
    return tuple(sorted(snap(math.log2(value)) for value in values))


def points_of(axes: Axes) -> list[tuple[float, ...]]:
    """All points of a grid, each with one value in octaves per axis."""
    return list(product(*axes.values()))


def hyperparameters_at(axes: Axes, point: tuple[float, ...]) -> Hyperparameters:
    """The hyperparameters at a point of a grid."""
    values = {axis: from_octaves(x) for axis, x in zip(axes, point, strict=True)}
    return Hyperparameters(values["lr"], values["weight_decay"], values.get("adamw_lr_ratio"))


def search_progress(
    question: Question, cell: Cell, optimizer: OptimizerName, completed: Mapping[str, Trial]
) -> SearchProgress:
    """Replay the search over the completed trials, keyed by digest."""
    tuning = question.tuning
    assert tuning is not None, "only the protocol `tuned` has a search"
    axes = first_axes(tuning, optimizer)
    for extension in range(tuning.extensions + 1):
        specs = {
            point: [
                run_spec(
                    question, cell, optimizer, hyperparameters_at(axes, point), TUNING_SEED + i
                )
                for i in range(tuning.seeds)
            ]
            for point in points_of(axes)
        }
        planned = [spec for point_specs in specs.values() for spec in point_specs]
        trials = tuple(completed[spec.digest] for spec in planned if spec.digest in completed)
        missing = tuple(spec for spec in planned if spec.digest not in completed)
        if missing:
            return SearchProgress(None, (), axes, trials, missing)
        best = min(
            specs,
            key=lambda point: score([completed[spec.digest] for spec in specs[point]]),
        )
        edges = tuple(edges_of(axes, best, optimizer))
        open_edges = [edge for edge in edges if edge.axis != "lr" or tuning.lr.extend]
        if not open_edges or extension == tuning.extensions:
            break
        axes = extended(axes, open_edges[0])
    return SearchProgress(hyperparameters_at(axes, best), edges, axes, trials, ())


def score(trials: Sequence[Trial]) -> tuple[float, float]:
    """The score of a point, and its mean final loss, which orders points with equal scores. A lower
    number is better."""
    steps = [RunTiming.of(trial).time("sustained") for trial in trials]
    budgets = [float(trial.spec.horizon.steps) for trial in trials]
    mean_steps = float(
        np.mean([b if s is None else s for s, b in zip(steps, budgets, strict=True)])
    )
    return mean_steps, float(np.mean([math.inf if t.loss is None else t.loss for t in trials]))


def edges_of(axes: Axes, best: tuple[float, ...], optimizer: OptimizerName) -> Iterator[AxisEdge]:
    """The axes with several values on which the best point has the lowest or highest value."""
    for (axis, tried), x in zip(axes.items(), best, strict=True):
        if len(tried) > 1 and x in (tried[0], tried[-1]):
            yield AxisEdge(
                optimizer=optimizer,
                axis=axis,
                side="low" if x == tried[0] else "high",
                value=from_octaves(x),
            )


def extended(axes: Axes, edge: AxisEdge) -> Axes:
    """The grid with one more value beyond an edge, as the module describes."""
    tried = axes[edge.axis]
    if edge.side == "low":
        longer = (snap(2 * tried[0] - tried[1]), *tried)
    else:
        longer = (*tried, snap(2 * tried[-1] - tried[-2]))
    return {**axes, edge.axis: longer}


def most_tuning_trials(tuning: HyperparameterSearch, optimizer: OptimizerName) -> int:
    """The largest number of runs that one optimizer's search in one cell can need."""
    sizes = {axis: len(tried) for axis, tried in first_axes(tuning, optimizer).items()}
    extendable = [
        axis for axis, size in sizes.items() if size > 1 and (axis != "lr" or tuning.lr.extend)
    ]
    for _ in range(tuning.extensions if extendable else 0):
        # a further value of the shortest axis adds the most points
        sizes[min(extendable, key=lambda axis: sizes[axis])] += 1
    return math.prod(sizes.values()) * tuning.seeds
