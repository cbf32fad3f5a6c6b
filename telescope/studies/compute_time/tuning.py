"""The search for an optimizer's learning rate and weight decay at a batch size, by the same rules
for each optimizer.

The search trains runs at a grid of learning rates. The first grid is the same for all optimizers.
`DECAY` states the learning-rate schedule of these runs for each *reading*: the way in which the
study reads losses off runs (`runs.reading` in the document). The loss at a point of the grid is the
mean of final losses over seeds. If the lowest loss lies at an end of the grid, two more points are
run beyond this end. This is repeated as often as the study allows. If the lowest loss still lies at
an end after that, the learning rate at this end is used, and the report states a doubt. If the
lowest loss lies inside the grid, the learning rate is the vertex of the parabola through the lowest
point and its two neighbours. If a run at a neighbour diverged, the learning rate of the lowest
point is used. If several weight decays are compared, each is run at all points of the grid, and the
weight decay with the lowest vertex is chosen.

The points of a grid are in *octaves*: the log2 of the learning rate.

A batch between two tuned batches gets interpolated values: log lr and log weight decay are linear
in log batch. If one of the two weight decays is 0, the weight decay of the nearer tuned batch is
used. A batch outside the range of the tuned batches gets the values of the nearest tuned batch.
Batches whose hyperparameters are given in the document are treated like tuned batches.

Parts: `Candidates` · `SearchProgress` · `RateSweep` · `search_progress`, the search at a tuned
batch · `hyperparameters_at`, the hyperparameters at any batch.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from telescope.studies.compute_time.question import Reading, Runs, Tuning
from telescope.studies.compute_time.reasons import (
    BestAtEdge,
    EveryRateDiverged,
    HyperparameterDoubt,
    RangeEnd,
)
from telescope.studies.compute_time.rows import Source
from telescope.studies.compute_time.runs import LearningRateDecay, final, horizon_of, steps_of
from telescope.studies.ranges import grid_octaves
from telescope.trials.data import DataSpec
from telescope.trials.lattice import from_octaves, snap
from telescope.trials.model import ModelSpec
from telescope.trials.optimizer import OptimizerSpec
from telescope.trials.outcome import Trial
from telescope.trials.spec import TrialSpec

# decay of the learning rate in the runs of a search, for each reading; `wsd` is constant at first,
# and decays in the last steps
DECAY: Mapping[Reading, LearningRateDecay] = {
    "constant": "constant",
    "cooldown": "wsd",
    "full": "linear",
}
BEYOND = 2  # points that one extension adds to a grid


@dataclass(frozen=True)
class Candidates:
    """The specifications of optimizer, model and data for runs of a search. Runs of a search differ
    in the learning rate and weight decay of the optimizer, which `at` sets."""

    optimizer: OptimizerSpec
    model: ModelSpec
    data: DataSpec

    def at(self, octaves: float, weight_decay: float) -> "Candidates":
        """The same specifications with this learning rate and weight decay. `octaves` is the log2
        of the learning rate."""
        optimizer = with_values(self.optimizer, from_octaves(octaves), weight_decay)
        return replace(self, optimizer=optimizer)


@lru_cache(maxsize=65_536)
def with_values(optimizer: OptimizerSpec, lr: float, weight_decay: float) -> OptimizerSpec:
    """The optimizer with another learning rate and weight decay. Results are cached, since planning
    asks for the same values repeatedly."""
    return replace(optimizer, lr=lr, weight_decay=weight_decay)


@dataclass(frozen=True)
class SearchProgress:
    """The state of an optimizer's search at a batch."""

    batch_tokens: int
    hyperparameters: "BatchHyperparameters | None"  # None while runs are missing
    # the end of the grid at which the best learning rate lies; None if the best learning rate lies
    # inside the grid, and while runs are missing; without meaning if all losses are infinite
    edge: RangeEnd | None
    trials: tuple[Trial, ...]  # completed runs of the search
    missing: tuple[TrialSpec, ...]  # runs of the current grid that are not completed

    @property
    def doubts(self) -> tuple[HyperparameterDoubt, ...]:
        """Doubts about the result."""
        return self.hyperparameters.doubts if self.hyperparameters else ()


@dataclass(frozen=True)
class RateSweep:
    """The learning rates that were tried with one weight decay."""

    weight_decay: float
    octaves: tuple[float, ...]  # log2 of the learning rates, ascending
    losses: tuple[float, ...]  # mean final loss over seeds; inf if a run has no finite final loss

    @property
    def best(self) -> int:
        """The index of the learning rate with the lowest loss."""
        return int(np.argmin(self.losses))

    @property
    def edge(self) -> RangeEnd | None:
        """The end of the grid at which the lowest loss lies; None if it lies inside the grid."""
        if self.best == 0:
            return "low"
        return "high" if self.best == len(self.octaves) - 1 else None

    @property
    def vertex(self) -> tuple[float, float]:
        """Octaves and loss of the vertex of the parabola through the lowest point and its
        neighbours. If the lowest point has only one neighbour, or if the loss of a neighbour is
        infinite, the lowest point itself is returned."""
        i = self.best
        around = slice(i - 1, i + 2)
        if self.edge or not all(map(math.isfinite, self.losses[around])):
            return self.octaves[i], self.losses[i]
        x, y = np.array(self.octaves[around]) - self.octaves[i], np.array(self.losses[around])
        a, b, c = np.polyfit(x, y, 2)
        shift = -b / (2 * a) if a > 0 else 0.0
        return self.octaves[i] + float(shift), float(a * shift * shift + b * shift + c)


def extended(octaves: Sequence[float], edge: RangeEnd) -> tuple[float, ...]:
    """The grid with BEYOND more points at one end, spaced like the last two points at this end."""
    if edge == "low":
        gap = octaves[1] - octaves[0]
        return (*(snap(octaves[0] - gap * i) for i in range(BEYOND, 0, -1)), *octaves)
    gap = octaves[-1] - octaves[-2]
    return (*octaves, *(snap(octaves[-1] + gap * i) for i in range(1, BEYOND + 1)))


def weight_decays_to_compare(tuning: Tuning) -> tuple[float, ...]:
    """The weight decays that a search compares, often only one."""
    return tuning.weight_decay if isinstance(tuning.weight_decay, tuple) else (tuning.weight_decay,)


@lru_cache(maxsize=65_536)
def search_spec(
    tuning: Tuning, runs: Runs, candidate: Candidates, batch_tokens: int, seed: int
) -> TrialSpec:
    """A run of a search, at the learning rate and weight decay of `candidate`."""
    steps = steps_of(tuning.tokens or runs.tokens, batch_tokens)
    horizon = horizon_of(runs, batch_tokens, steps, DECAY[runs.reading])
    return TrialSpec(
        model=candidate.model,
        optimizer=candidate.optimizer,
        data=candidate.data,
        horizon=horizon,
        seed=seed,
    )


def search_progress(
    tuning: Tuning,
    runs: Runs,
    candidates: Candidates,
    batch_tokens: int,
    completed: Mapping[str, Trial],
) -> SearchProgress:
    """The state of the search at a batch. `completed` has the completed trials by digest."""
    octaves, trials = grid_octaves(tuning.lr), dict[str, Trial]()
    for extension in range(tuning.extensions + 1):
        specs = {
            (decay, x, seed): search_spec(tuning, runs, candidates.at(x, decay), batch_tokens, seed)
            for decay in weight_decays_to_compare(tuning)
            for x in octaves
            for seed in range(tuning.seeds)
        }
        finished = {
            key: completed[spec.digest] for key, spec in specs.items() if spec.digest in completed
        }
        trials |= {trial.digest: trial for trial in finished.values()}
        if missing := tuple(spec for key, spec in specs.items() if key not in finished):
            return SearchProgress(batch_tokens, None, None, tuple(trials.values()), missing)
        best = best_sweep(tuning, octaves, finished)
        extensible = tuning.lr.extend and extension < tuning.extensions
        if not (best.edge and extensible and math.isfinite(min(best.losses))):
            break
        octaves = extended(octaves, best.edge)
    hyperparameters = BatchHyperparameters(
        batch_tokens=batch_tokens,
        lr=from_octaves(best.vertex[0]),
        weight_decay=best.weight_decay,
        source="tuned",
        doubts=tuple(search_doubts(best, batch_tokens)),
    )
    return SearchProgress(batch_tokens, hyperparameters, best.edge, tuple(trials.values()), ())


def best_sweep(
    tuning: Tuning, octaves: tuple[float, ...], finished: Mapping[tuple[float, float, int], Trial]
) -> RateSweep:
    """The sweep (all learning rates at one weight decay) whose vertex has the lowest loss.
    `finished` contains the trials, keyed by weight decay, octaves and seed."""
    losses = {key: final(trial) for key, trial in finished.items()}

    def mean_loss(decay: float, x: float) -> float:
        return float(np.mean([losses[decay, x, seed] for seed in range(tuning.seeds)]))

    sweeps = [
        RateSweep(decay, octaves, tuple(mean_loss(decay, x) for x in octaves))
        for decay in weight_decays_to_compare(tuning)
    ]
    return min(sweeps, key=lambda sweep: sweep.vertex[1])


def search_doubts(best: RateSweep, batch_tokens: int) -> Iterator[HyperparameterDoubt]:
    """The doubts about the result of a search: one or none. `best` is the sweep with the lowest
    vertex."""
    if not math.isfinite(min(best.losses)):
        yield EveryRateDiverged(
            batch_tokens=batch_tokens, lr_low=2 ** best.octaves[0], lr_high=2 ** best.octaves[-1]
        )
    elif best.edge:
        yield BestAtEdge(batch_tokens=batch_tokens, edge=best.edge, lr=2 ** best.octaves[best.best])


@dataclass(frozen=True)
class BatchHyperparameters:
    """An optimizer's hyperparameters at a batch, and their source."""

    batch_tokens: int
    lr: float
    weight_decay: float
    source: Source
    doubts: tuple[HyperparameterDoubt, ...] = ()


@dataclass(frozen=True)
class PendingSearch:
    """A batch whose hyperparameters are still being tuned."""

    batch_tokens: int


def neighbours(
    batch_tokens: int, entries: Sequence[BatchHyperparameters | PendingSearch]
) -> tuple[BatchHyperparameters | PendingSearch, ...]:
    """The entries that determine the hyperparameters of a batch. If the batch has an entry, it is
    the only one. Otherwise, there are one or two: the nearest entry below the batch and the nearest
    entry above the batch. `entries` are in ascending order of batch."""
    exact = tuple(entry for entry in entries if entry.batch_tokens == batch_tokens)
    below = [entry for entry in entries if entry.batch_tokens < batch_tokens]
    above = [entry for entry in entries if entry.batch_tokens > batch_tokens]
    return exact or (*below[-1:], *above[:1])


def hyperparameters_at(
    batch_tokens: int, near: Sequence[BatchHyperparameters]
) -> BatchHyperparameters:
    """The hyperparameters at a batch. `near` is the result of `neighbours` for this batch."""
    first = near[0]
    if first.batch_tokens == batch_tokens:
        return first
    doubts = tuple(dict.fromkeys(doubt for entry in near for doubt in entry.doubts))
    if len(near) == 1:
        source: Source = "extrapolated"
        return BatchHyperparameters(batch_tokens, first.lr, first.weight_decay, source, doubts)
    left, right = near
    share = math.log2(batch_tokens / left.batch_tokens) / math.log2(
        right.batch_tokens / left.batch_tokens
    )
    lr = interpolated_rate(left.lr, right.lr, share)
    weight_decay = interpolated_rate(left.weight_decay, right.weight_decay, share)
    return BatchHyperparameters(batch_tokens, lr, weight_decay, "interpolated", doubts)


def interpolated_rate(left: float, right: float, share: float) -> float:
    """The interpolation between two learning rates or weight decays, linear in their logarithms.
    `share` is 0 at `left` and 1 at `right`. If one value is 0, the nearer value is returned."""
    if left == right or min(left, right) <= 0:
        return left if share <= 0.5 else right
    return from_octaves((1 - share) * math.log2(left) + share * math.log2(right))


def most_search_runs(tuning: Tuning) -> int:
    """The largest number of runs that the search of one optimizer at one batch may need."""
    extensions = tuning.extensions if tuning.lr.extend else 0
    rates = tuning.lr.points + BEYOND * extensions
    return rates * len(weight_decays_to_compare(tuning)) * tuning.seeds
