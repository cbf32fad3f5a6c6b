"""The runs at the target width that check a ladder's answer.

A *ladder* searches the hyperparameters of one optimizer at increasing widths. If the study asks for
validation, runs at the target width follow the search. They use two seeds and three learning rates:
the reported learning rate, and the learning rates one octave (a factor of 2) below and above it. A
learning rate that may not be tried is replaced by the nearest one that may be tried; equal learning
rates are tried once. The other hyperparameters keep their reported values.

If the mean loss is lowest at the lowest or the highest learning rate, another learning rate is
tried one octave beyond that rate, unless the user's range forbids it. This happens at most twice.
"""

from collections.abc import Sequence

from telescope.studies.telescoping.ladder.ladder import Done, Ladder, Point, Stage, argmin, outcomes

STAGE = "validation"
SEEDS = range(1000, 1002)  # in practice, higher than the seeds of a ladder's other runs
OFFSETS = (-1.0, 0.0, 1.0)  # octaves from the reported learning rate
EXTENSIONS = 2  # how often another learning rate may be added
FIRST_RUNS = len(SEEDS) * len(OFFSETS)  # runs of the first stage; fewer if learning rates are equal
MOST_RUNS = FIRST_RUNS + len(SEEDS) * EXTENSIONS


def next_stage(ladder: Ladder, reported: Sequence[float], done: Sequence[Done]) -> Stage | None:
    """The next runs at the target. `done` holds the finished stages at the target. `reported` holds
    the reported value of each axis (swept hyperparameter), in octaves. `None` if the runs so far
    bracket the optimum, or if no more runs are allowed.
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
    """The runs of all seeds at the learning rates `rates`, in octaves. The level number after the
    ladder's last level stands for the target.
    """
    held = tuple(axis.clip(x) for axis, x in zip(ladder.axes[1:], reported[1:], strict=True))
    return tuple(Point(ladder.levels, (rate, *held), seed) for rate in rates for seed in SEEDS)


def open_end(done: Sequence[Done]) -> float | None:
    """The next learning rate to try, in octaves: one octave beyond the lowest or the highest rate
    tried, if the mean loss is lowest there. Otherwise `None`.
    """
    results = outcomes(done)
    rates, best = sorted({o.point.x[0] for o in results}), argmin(results)[0]
    if best == rates[0]:
        return best - 1
    return best + 1 if best == rates[-1] else None
