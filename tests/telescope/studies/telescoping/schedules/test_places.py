"""Where did the optimum go: each place of the enum is met on a bowl that puts it there."""

import math
from collections.abc import Sequence
from dataclasses import replace

from telescope.studies.telescoping.ladder.ladder import Done, Ladder, Outcome, pooled_fit
from telescope.studies.telescoping.schedules import robust
from telescope.studies.telescoping.schedules.blocks import top_places
from telescope.studies.telescoping.schedules.edges import base_places
from telescope.studies.telescoping.schedules.places import OptimumPlace, axes_at
from tests.telescope.studies.telescoping.folds import Loss, bowl, ended, ladder


def robustly(example: Ladder, loss: Loss, rounds: int) -> list[Done]:
    """The first rounds of the schedule."""
    done: list[Done] = []
    while len(done) < rounds and (stage := robust.next_stage(example, tuple(done))):
        done.append(ended(stage, loss))
    return done


def of_top(example: Ladder, done: Sequence[Done]) -> dict[int, OptimumPlace]:
    fit = pooled_fit(example, done)
    assert fit is not None
    return top_places(example, done, fit)


def lost(done: Sequence[Done]) -> list[Done]:
    """The same stages, but that the last one diverged whole."""
    *before, last = done
    return [
        *before,
        replace(last, outcomes=tuple(Outcome(o.point, math.inf) for o in last.outcomes)),
    ]


def test_an_optimum_in_the_middle_lies_inside() -> None:
    example = replace(ladder((8, 3)), max_base_runs=1000.0)
    done = robustly(example, bowl(3.4, 3.6), 3)
    assert base_places(example, done) == {}
    assert of_top(example, done) == {0: OptimumPlace(0), 1: OptimumPlace(0)}


def test_an_optimum_at_a_border_is_at_a_wall_where_nothing_may_be_tried_beyond() -> None:
    for extend, place in (
        (True, OptimumPlace.AT_BORDER),
        (False, OptimumPlace.AT_BORDER | OptimumPlace.AT_WALL),
    ):
        example = ladder((8, 3), extend=extend)
        places = base_places(example, robustly(example, bowl(0.0, 3.6), 1))
        assert places == {0: place}
        assert axes_at(places, OptimumPlace.AT_BORDER) == (0,)


def test_an_optimum_out_of_its_last_block_is_outside_and_beyond_the_range_behind_the_wall() -> None:
    example = replace(ladder((8, 3), extend=False), max_base_runs=1000.0)
    within = of_top(example, robustly(example, bowl(2.0, 3.6, drift=2.5), 3))
    assert (within[0], within[1]) == (OptimumPlace.OUTSIDE_BLOCK, OptimumPlace(0))
    beyond = of_top(example, robustly(example, bowl(9.0, 3.6), 2))
    assert beyond[0] == OptimumPlace.OUTSIDE_BLOCK | OptimumPlace.BEYOND_WALL
    assert (
        axes_at(beyond, OptimumPlace.OUTSIDE_BLOCK),
        axes_at(beyond, OptimumPlace.BEYOND_WALL),
    ) == (
        (0,),
        (0,),
    )


def test_where_the_last_block_diverged_whole_the_optimum_is_taken_to_lie_below_it() -> None:
    for extend, optimum, place in (
        (True, 3.4, OptimumPlace.OUTSIDE_BLOCK),
        (False, 0.8, OptimumPlace.OUTSIDE_BLOCK | OptimumPlace.BEYOND_WALL),
    ):
        example = replace(ladder((8, 3), extend=extend), max_base_runs=1000.0)
        places = of_top(example, lost(robustly(example, bowl(optimum, 3.6), 3)))
        assert places[0] == place
        assert axes_at(places, OptimumPlace.OUTSIDE_BLOCK) == (0,)
