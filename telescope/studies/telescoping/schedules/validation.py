"""The runs at the target width that check a ladder's answer.

They follow a ladder's stages if the study asks for validation. Two seeds train at the reported
learning rate and at an octave to either side, with the other hyperparameters held fixed. While the
lowest loss lies at an end, runs another octave beyond that end are added, at most twice.
"""

from collections.abc import Sequence

from telescope.studies.telescoping.ladder.ladder import Done, Ladder, Point, Stage, argmin, outcomes

STAGE = "validation"
SEEDS = range(1000, 1002)  # seeds that no ladder reaches
OFFSETS = (-1.0, 0.0, 1.0)  # octaves from the reported learning rate
EXTENSIONS = 2  # most extensions, each by one octave
LEAST_RUNS = len(SEEDS) * len(OFFSETS)
MOST_RUNS = LEAST_RUNS + len(SEEDS) * EXTENSIONS


def next_stage(ladder: Ladder, reported: Sequence[float], done: Sequence[Done]) -> Stage | None:
    """The next runs at the target, around the reported values in octaves by axis; None if the runs
    so far bracket the optimum, or no more runs are allowed.
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
    """The runs of all seeds at these learning rates, in octaves. The level after the ladder's last
    level is the target.
    """
    held = tuple(axis.clip(x) for axis, x in zip(ladder.axes[1:], reported[1:], strict=True))
    return tuple(Point(ladder.levels, (rate, *held), seed) for rate in rates for seed in SEEDS)


def open_end(done: Sequence[Done]) -> float | None:
    """The learning rate, in octaves, one octave beyond the best rate tried, if the best is also the
    lowest or the highest; else None.
    """
    results = outcomes(done)
    rates, best = sorted({o.point.x[0] for o in results}), argmin(results)[0]
    if best == rates[0]:
        return best - 1
    return best + 1 if best == rates[-1] else None
