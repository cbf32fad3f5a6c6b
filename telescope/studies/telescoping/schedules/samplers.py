"""Samplers, which fill a window with scattered points instead of a complete grid.

A *window* is the range of values that is searched at one width. The sampler `qmc` spreads a
scrambled Sobol sequence over the window. The samplers `gp` and `tpe` spread the first half of the
points in the same way, then ask Optuna for batches of up to BATCH points. Each batch starts a new
Optuna sampler with a seed and the sorted points tried so far. The seed depends only on the request
for points (`propose`), so the same request gives the same points. Proposed points are distinct and
lie on the planning lattice, the multiples of 1/64 octave (an octave is a factor of 2).
"""

import hashlib
import itertools
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from telescope.extras import extra
from telescope.studies.telescoping.question.parts import Sampler
from telescope.trials.lattice import snap

if TYPE_CHECKING:
    import optuna

BATCH = 8  # largest number of points per batch of gp and tpe
# largest number of Sobol sequences; if they contain too few new points, the window counts as full
MOST_SEQUENCES = 16
MOST_PROPOSALS = 16  # largest number of proposals asked of Optuna, per point of a batch

X = tuple[float, ...]  # position of a point on each axis, in octaves


@dataclass(frozen=True)
class Box:
    """A window: the lowest and highest value of each axis (swept hyperparameter), in octaves."""

    low: X
    high: X

    def at(self, share: Sequence[float]) -> X:
        """The lattice point nearest to a place in the window. On each axis, `share` is the place's
        distance from `low`, divided by the distance from `low` to `high`.
        """
        return tuple(
            self.snap(i, low + u * (high - low))
            for i, (u, low, high) in enumerate(zip(share, self.low, self.high, strict=True))
        )

    def snap(self, axis: int, x: float) -> float:
        """The lattice point of an axis that is nearest to `x` within the window."""
        return min(max(snap(x), self.low[axis]), self.high[axis])


def stage_sizes(sampler: Sampler, trials: int) -> tuple[int, ...]:
    """The number of points in each stage at one width, where `trials` is the total number of
    points. A *stage* is a set of runs that are planned together. `qmc` has one stage, since its
    points do not depend on losses.
    """
    if sampler == "qmc":
        return (trials,)
    rest = trials // 2
    return (trials - rest, *[BATCH] * (rest // BATCH), *([rest % BATCH] if rest % BATCH else []))


def propose(
    sampler: Sampler, box: Box, seen: Sequence[tuple[X, float]], count: int, key: object
) -> tuple[X, ...]:
    """The next `count` points to try, or fewer if the window is full. `seen` holds the points
    already tried in this window, with their losses. The random seed is derived from `key`, which
    identifies the request.
    """
    seed = int(hashlib.sha256(repr(key).encode()).hexdigest()[:8], 16)
    known_points = {x for x, _ in seen}
    proposals = ask(sampler, box, sorted(seen), count, seed) if seen and sampler != "qmc" else []
    chosen: dict[X, None] = {}
    for x in itertools.chain(proposals, spread(box, count, seed)):
        if len(chosen) == count:
            break
        if x not in known_points:
            chosen[x] = None
    return tuple(chosen)


def spread(box: Box, count: int, seed: int) -> Iterator[X]:
    """The points of several scrambled Sobol sequences, one sequence after another."""
    from scipy.stats import qmc  # this import takes a second, and few studies need it

    for sequence in range(MOST_SEQUENCES):
        cube = qmc.Sobol(len(box.low), scramble=True, rng=seed + sequence).random_base2(
            math.ceil(math.log2(max(count, 2)))
        )
        yield from map(box.at, cube)


def ask(
    sampler: Sampler, box: Box, seen: Sequence[tuple[X, float]], count: int, seed: int
) -> list[X]:
    """Up to `count` distinct new points, proposed by a sampler of Optuna."""
    known_points, chosen = {x for x, _ in seen}, dict[X, None]()
    with quietly():
        study, space = optuna_study(box, seen, sampler, seed)
        for _ in range(MOST_PROPOSALS * count):
            params = study.ask(space).params
            x = tuple(box.snap(i, params[name]) for i, name in enumerate(space))
            if x not in known_points:
                chosen[x] = None
            if len(chosen) == count:
                break
    return list(chosen)


def optuna_study(
    box: Box, seen: Sequence[tuple[X, float]], sampler: Sampler, seed: int
) -> tuple["optuna.Study", "dict[str, optuna.distributions.BaseDistribution]"]:
    """An Optuna study of the runs `seen`, and its search space. The name of an axis in the search
    space is the axis's index. The values of the study are the `heights` of the losses.
    """
    with extra("service"):
        import optuna  # imported here, so that commands start quickly

    optuna_sampler: optuna.samplers.BaseSampler = optuna.samplers.RandomSampler(seed)
    if sampler == "gp":
        optuna_sampler = optuna.samplers.GPSampler(seed=seed, n_startup_trials=0)
    elif sampler == "tpe":
        optuna_sampler = optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=0, multivariate=True
        )
    study = optuna.create_study(sampler=optuna_sampler)
    names = [str(i) for i in range(len(box.low))]
    space: dict[str, optuna.distributions.BaseDistribution] = {
        name: optuna.distributions.FloatDistribution(low, high)
        for name, low, high in zip(names, box.low, box.high, strict=True)
    }
    for (x, _), height in zip(seen, heights([loss for _, loss in seen]), strict=True):
        study.add_trial(
            optuna.trial.create_trial(
                params=dict(zip(names, x, strict=True)), distributions=space, value=height
            )
        )
    return study, space


def heights(losses: Sequence[float]) -> list[float]:
    """The losses in the form that Optuna sees: log(1 + p), where a loss is p % above the lowest
    loss. The logarithm flattens the steep sides around the optimum. A diverged run gets 1 more than
    the highest of these values. All values are 0 if every run diverged.
    """
    finite = [loss for loss in losses if math.isfinite(loss)]
    if not finite:
        return [0.0] * len(losses)
    lowest = min(finite)
    worst = 1 + math.log1p(100 * (max(finite) / lowest - 1))
    return [
        math.log1p(100 * (loss / lowest - 1)) if math.isfinite(loss) else worst for loss in losses
    ]


@contextmanager
def quietly() -> Iterator[None]:
    """Silence warnings, and Optuna's logs below the level of errors. Run torch in one thread, in
    which it adds numbers in the same order each time, so that results are repeatable.
    """
    with extra("service"):
        import optuna  # imported here, so that commands start quickly
    import torch

    level, threads = optuna.logging.get_verbosity(), torch.get_num_threads()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(level)
        torch.set_num_threads(threads)
