"""A schedule folded over a loss that is a function, without trials: what the tests of the published
rule share.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

from telescope.studies.telescoping.axes import Axis
from telescope.studies.telescoping.ladder.ladder import Done, Ladder, Outcome, Stage
from telescope.studies.telescoping.question.parts import PaperOptions
from telescope.studies.telescoping.schedules import paper

NAMES: tuple[Any, ...] = ("lr", "weight_decay", "adamw_lr_ratio", "init_scale")

Loss = Callable[[int, tuple[float, ...], int], float]


def ladder(
    points: Sequence[int],
    levels: int = 4,
    low: float = 0.0,
    high: float = 7.0,
    extend: bool = True,
    seeds: int = 1,
) -> Ladder:
    """Axes from `low` to `high` octaves, and widths that double from 32."""
    widths = tuple(32 * 2**i for i in range(levels))
    axes = tuple(
        Axis(name, low, high, count, extend) for name, count in zip(NAMES, points, strict=False)
    )
    return Ladder("muon", widths, 16 * 32, axes, tuple(4.0**i for i in range(levels)), seeds=seeds)


def fold(example: Ladder, loss: Loss, **options: Any) -> list[Done]:
    """All stages of the published rule with these options."""
    done: list[Done] = []
    while stage := paper.next_stage(example, tuple(done), PaperOptions(**options)):
        done.append(ended(stage, loss))
    return done


def ended(stage: Stage, loss: Loss) -> Done:
    """The stage with its losses."""
    return Done(
        stage.name,
        tuple(
            sorted(Outcome(point, loss(point.level, point.x, point.seed)) for point in stage.points)
        ),
    )


def bowl(*optimum: float, drift: float = 0.0, flatness: float = 1.0) -> Loss:
    """Losses of 2 % per octave^2, their optimum's first coordinate `drift` octaves higher per
    level.
    """

    def loss(level: int, x: tuple[float, ...], seed: int) -> float:
        u = [a - b for a, b in zip(x, optimum, strict=True)]
        return 3 + 0.06 * ((u[0] - drift * level) ** 2 + sum(v**2 for v in u[1:]) / flatness)

    return loss


def values(done: Sequence[Done], level: int, axis: int = 0) -> list[float]:
    """What was tried at a level on one axis."""
    return sorted(
        {o.point.x[axis] for stage in done for o in stage.outcomes if o.point.level == level}
    )


def steps(done: Sequence[Done], level: int, axis: int = 0) -> set[float]:
    """Octaves between neighbouring values, to a lattice step."""
    return {round(b - a, 1) for a, b in itertools.pairwise(values(done, level, axis))}


def counts(done: Sequence[Done], axis: int = 0) -> list[int]:
    """Values tried per level on one axis."""
    levels = range(1 + max(o.point.level for stage in done for o in stage.outcomes))
    return [len(values(done, level, axis)) for level in levels]


def runs(done: Sequence[Done]) -> list[int]:
    """Runs per level."""
    levels = range(1 + max(o.point.level for stage in done for o in stage.outcomes))
    return [
        sum(o.point.level == level for stage in done for o in stage.outcomes) for level in levels
    ]


def middle(tried: Sequence[float]) -> float:
    """Of a window."""
    return math.fsum((min(tried), max(tried))) / 2
