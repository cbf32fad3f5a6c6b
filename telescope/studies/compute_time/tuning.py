"""The search for an optimizer's learning rate at a batch size, with equal effort for all
optimizers.

The search is a grid, the same for every optimizer, of runs of one length under the schedule of the
reading. Where the lowest mean loss over seeds lies at an end of the grid, two more points are run
beyond it, as often as the study allows; otherwise the learning rate is the vertex of the parabola
through the lowest point and its neighbours. Each weight decay has its own grid, and the lowest
vertex decides.

Between tuned batches, log lr and log weight decay are interpolated linearly in log batch; beyond
them, the values of the nearest batch are used. Both are marked.

Parts: `Candidates` · `RateSweep`, the learning rates of one weight decay · `tuned` -> `Tuned`, at a
tuned batch · `neighbours`, `setting_at` -> `Known`, at any batch.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from telescope.studies.compute_time.question import Reading, Runs, Tuning
from telescope.studies.compute_time.reasons import (
    BestAtEdge,
    Edge,
    EveryRateDiverged,
    HyperparameterDoubt,
)
from telescope.studies.compute_time.rows import Source
from telescope.studies.compute_time.runs import Decay, final, horizon_of, steps_of
from telescope.trials.data import DataSpec
from telescope.trials.lattice import from_octaves, snap
from telescope.trials.model import ModelSpec
from telescope.trials.optimizer import OptimizerSpec
from telescope.trials.outcome import Trial
from telescope.trials.spec import TrialSpec

DECAY: Mapping[Reading, Decay] = {"constant": "constant", "cooldown": "wsd", "full": "linear"}
BEYOND = 2  # points that extend a grid at a time


@dataclass(frozen=True)
class Candidates:
    """An optimizer whose learning rate and weight decay are to be tuned."""

    optimizer: OptimizerSpec
    model: ModelSpec
    data: DataSpec

    def at(self, octaves: float, weight_decay: float) -> "Candidates":
        """The candidate at a learning rate and a weight decay."""
        return replace(
            self, optimizer=with_values(self.optimizer, from_octaves(octaves), weight_decay)
        )


@lru_cache(maxsize=65_536)
def with_values(optimizer: OptimizerSpec, lr: float, weight_decay: float) -> OptimizerSpec:
    """The optimizer with another learning rate and weight decay."""
    return replace(optimizer, lr=lr, weight_decay=weight_decay)


@dataclass(frozen=True)
class Tuned:
    """The search of an optimizer at a batch so far."""

    batch_tokens: int
    known: "Known | None"  # None while the search goes on
    edge: Edge | None  # the end of the rates tried at which the best lies
    trials: tuple[Trial, ...]
    missing: tuple[TrialSpec, ...]  # of its current stage

    @property
    def doubts(self) -> tuple[HyperparameterDoubt, ...]:
        """Doubts about the result."""
        return self.known.doubts if self.known else ()


@dataclass(frozen=True)
class RateSweep:
    """The learning rates tried with one weight decay: octaves, and mean losses over seeds."""

    weight_decay: float
    octaves: tuple[float, ...]
    losses: tuple[float, ...]

    @property
    def best(self) -> int:
        """The index of the lowest loss."""
        return int(np.argmin(self.losses))

    @property
    def edge(self) -> Edge | None:
        """The end at which the lowest loss lies; None inside."""
        return "low" if self.best == 0 else "high" if self.best == len(self.octaves) - 1 else None

    @property
    def vertex(self) -> tuple[float, float]:
        """Octaves and loss of the parabola's vertex; without one, those of the lowest point."""
        i = self.best
        if self.edge or not all(map(math.isfinite, self.losses[i - 1 : i + 2])):
            return self.octaves[i], self.losses[i]
        x, y = (
            np.array(self.octaves[i - 1 : i + 2]) - self.octaves[i],
            np.array(self.losses[i - 1 : i + 2]),
        )
        a, b, c = np.polyfit(x, y, 2)
        at = -b / (2 * a) if a > 0 else 0.0
        return self.octaves[i] + float(at), float(a * at * at + b * at + c)


def first_rates(tuning: Tuning) -> tuple[float, ...]:
    """The first learning rates, in octaves on the planning lattice."""
    low, high = math.log2(tuning.lr.low), math.log2(tuning.lr.high)
    return tuple(snap(x) for x in np.linspace(low, high, tuning.lr.points))


def carried_on(octaves: Sequence[float], edge: Edge) -> tuple[float, ...]:
    """A grid extended by BEYOND points at one end, at the spacing of its points there."""
    gap = octaves[1] - octaves[0] if edge == "low" else octaves[-1] - octaves[-2]
    if edge == "low":
        return (*(snap(octaves[0] - gap * i) for i in range(BEYOND, 0, -1)), *octaves)
    return (*octaves, *(snap(octaves[-1] + gap * i) for i in range(1, BEYOND + 1)))


def weight_decays_to_compare(tuning: Tuning) -> tuple[float, ...]:
    """The weight decays to compare."""
    return tuning.weight_decay if isinstance(tuning.weight_decay, tuple) else (tuning.weight_decay,)


@lru_cache(maxsize=65_536)
def search_spec(
    tuning: Tuning, runs: Runs, candidate: Candidates, batch_tokens: int, seed: int
) -> TrialSpec:
    """A run of a search; the candidate's optimizer has its learning rate and its weight decay."""
    steps = steps_of(tuning.tokens or runs.tokens, batch_tokens)
    horizon = horizon_of(runs, batch_tokens, steps, DECAY[runs.reading])
    return TrialSpec(
        model=candidate.model,
        optimizer=candidate.optimizer,
        data=candidate.data,
        horizon=horizon,
        seed=seed,
    )


def tuned(
    tuning: Tuning,
    runs: Runs,
    candidates: Candidates,
    batch_tokens: int,
    completed: Mapping[str, Trial],
) -> Tuned:
    """The search at a batch so far."""
    octaves, trials = first_rates(tuning), dict[str, Trial]()
    for extension in range(tuning.extensions + 1):
        specs = {
            (decay, x, seed): search_spec(tuning, runs, candidates.at(x, decay), batch_tokens, seed)
            for decay in weight_decays_to_compare(tuning)
            for x in octaves
            for seed in range(tuning.seeds)
        }
        found = {
            key: completed[spec.digest] for key, spec in specs.items() if spec.digest in completed
        }
        trials |= {trial.digest: trial for trial in found.values()}
        if missing := tuple(spec for key, spec in specs.items() if key not in found):
            return Tuned(
                batch_tokens, known=None, edge=None, trials=tuple(trials.values()), missing=missing
            )
        losses = {key: final(trial) for key, trial in found.items()}
        lines = [
            RateSweep(
                decay,
                octaves,
                tuple(
                    float(np.mean([losses[decay, x, seed] for seed in range(tuning.seeds)]))
                    for x in octaves
                ),
            )
            for decay in weight_decays_to_compare(tuning)
        ]
        best = min(lines, key=lambda line: line.vertex[1])
        if (
            not best.edge
            or not tuning.lr.extend
            or extension == tuning.extensions
            or not math.isfinite(min(best.losses))
        ):
            break
        octaves = carried_on(octaves, best.edge)
    known = Known(
        batch_tokens,
        from_octaves(best.vertex[0]),
        best.weight_decay,
        "tuned",
        tuple(search_doubts(best, batch_tokens)),
    )
    return Tuned(
        batch_tokens, known=known, edge=best.edge, trials=tuple(trials.values()), missing=()
    )


def search_doubts(best: RateSweep, batch_tokens: int) -> Iterator[HyperparameterDoubt]:
    """Doubts about the lowest vertex of a search."""
    if not math.isfinite(min(best.losses)):
        yield EveryRateDiverged(
            batch_tokens=batch_tokens, lr_low=2 ** best.octaves[0], lr_high=2 ** best.octaves[-1]
        )
    elif best.edge:
        yield BestAtEdge(batch_tokens=batch_tokens, edge=best.edge, lr=2 ** best.octaves[best.best])


@dataclass(frozen=True)
class Known:
    """Hyperparameters at a batch, tuned or given."""

    batch_tokens: int
    lr: float
    weight_decay: float
    source: Source
    doubts: tuple[HyperparameterDoubt, ...] = ()


@dataclass(frozen=True)
class Searching:
    """A batch whose hyperparameters are still being tuned."""

    batch_tokens: int


def neighbours(
    batch_tokens: int, known: Sequence[Known | Searching]
) -> tuple[Known | Searching, ...]:
    """The entries that determine the hyperparameters of a batch, among entries in ascending order
    of batch.
    """
    exact = tuple(one for one in known if one.batch_tokens == batch_tokens)
    below = [one for one in known if one.batch_tokens < batch_tokens]
    above = [one for one in known if one.batch_tokens > batch_tokens]
    return exact or (*below[-1:], *above[:1])


def setting_at(batch_tokens: int, near: Sequence[Known]) -> Known:
    """The hyperparameters at any batch, given its neighbours."""
    if near[0].batch_tokens == batch_tokens:
        return near[0]
    doubts = tuple(dict.fromkeys(doubt for one in near for doubt in one.doubts))
    if len(near) == 1:
        return Known(batch_tokens, near[0].lr, near[0].weight_decay, "extrapolated", doubts)
    left, right = near
    share = math.log2(batch_tokens / left.batch_tokens) / math.log2(
        right.batch_tokens / left.batch_tokens
    )
    lr, weight_decay = (
        interpolated_rate(left.lr, right.lr, share),
        interpolated_rate(left.weight_decay, right.weight_decay, share),
    )
    return Known(batch_tokens, lr, weight_decay, "interpolated", doubts)


def interpolated_rate(left: float, right: float, share: float) -> float:
    """The linear interpolation in octaves; where a value is 0, the nearer value."""
    if left == right or min(left, right) <= 0:
        return left if share <= 0.5 else right
    return from_octaves((1 - share) * math.log2(left) + share * math.log2(right))


def most_points(tuning: Tuning) -> int:
    """The most runs of a search, over all seeds, weight decays and extensions."""
    extensions = tuning.extensions if tuning.lr.extend else 0
    return (
        (tuning.lr.points + BEYOND * extensions)
        * len(weight_decays_to_compare(tuning))
        * tuning.seeds
    )
