"""The runs at the target width that check a ladder's answer.

They follow a ladder's stages if the study asks for validation: two seeds, each at the reported
learning rate and an octave to either side, with the other hyperparameters held fixed; then an
octave further while the lowest loss lies at an end, at most twice.
"""

from collections.abc import Sequence

from telescope.studies.telescoping.ladder.ladder import Done, Ladder, Point, Stage, argmin, outcomes

STAGE = "validation"
SEEDS = range(1000, 1002)  # beyond the seeds of any ladder
OFFSETS = (-1.0, 0.0, 1.0)  # octaves of the learning rate
EXTENSIONS = 2  # of one octave
LEAST_RUNS = len(SEEDS) * len(OFFSETS)
MOST_RUNS = LEAST_RUNS + len(SEEDS) * EXTENSIONS


def next_stage(ladder: Ladder, reported: Sequence[float], done: Sequence[Done]) -> Stage | None:
    """The next runs at the target, around the reported values in octaves by axis; None where the
    runs bracket the optimum, or no further ones are allowed.
    """
    axis = ladder.axes[0]
    if not done:
        rates = dict.fromkeys(axis.clip(reported[0] + offset) for offset in OFFSETS)
        return Stage(STAGE, runs_at(ladder, tuple(rates), reported))
    end = open_end(done)
    if len(done) > EXTENSIONS or end is None or not axis.allows(end):
        return None
    return Stage(STAGE, runs_at(ladder, (end,), reported))


def runs_at(ladder: Ladder, rates: Sequence[float], reported: Sequence[float]) -> tuple[Point, ...]:
    """The runs of all seeds at these learning rates. The level above the ladder's widest denotes
    the target.
    """
    held = tuple(axis.clip(x) for axis, x in zip(ladder.axes[1:], reported[1:], strict=True))
    return tuple(Point(ladder.levels, (rate, *held), seed) for rate in rates for seed in SEEDS)


def open_end(done: Sequence[Done]) -> float | None:
    """The learning rate an octave beyond the one with the lowest loss, if that is the lowest or the
    highest tried; else None.
    """
    results = outcomes(done)
    rates, best = sorted({o.point.x[0] for o in results}), argmin(results)[0]
    if best == rates[0]:
        return best - 1
    return best + 1 if best == rates[-1] else None
