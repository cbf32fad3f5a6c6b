"""The time that the runs of a ladder take if several run in parallel.

A *ladder* searches the hyperparameters of one optimizer at increasing widths.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from telescope.studies.telescoping.ladder.ladder import Ladder


@dataclass(frozen=True)
class LadderDurations:
    """The durations of a ladder's runs and stages, with at most `parallel` runs at a time.

    A *level* is one width of the ladder, and a *stage* is a set of runs that are planned together.
    Within a stage, the runs of a level are assumed to start when all runs of the previous level
    have ended.
    """

    ladder: Ladder
    parallel: int
    flops_per_second: tuple[float, ...]  # speed at every level, then at the target

    def run_seconds(self, level: int) -> float:
        """The seconds of a run at a level. The level after the last one is the target."""
        return self.ladder.base_flops * self.ladder.cost(level) / self.flops_per_second[level]

    def stage_seconds(self, runs: Mapping[int, int]) -> float:
        """The seconds of a stage, where `runs` is the number of runs per level."""
        return math.fsum(
            math.ceil(count / self.parallel) * self.run_seconds(level)
            for level, count in runs.items()
        )

    def rest_seconds(self, flops: float) -> float:
        """The seconds of runs whose levels are unknown, from the total of their FLOPs. These runs
        are assumed to have the lowest speed in `flops_per_second`. The number of runs at a time is
        the smallest of `parallel`, 2^k and 8, where k is the number of fitted axes (hyperparameters
        with three values or more).
        """
        at_once: int = min(self.parallel, 2 ** min(len(self.ladder.fitted), 3))
        return max(0.0, flops) / min(self.flops_per_second) / at_once
