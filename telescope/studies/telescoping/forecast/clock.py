"""Wall-clock time of stages whose runs share several workers."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from telescope.studies.telescoping.ladder.ladder import Ladder


@dataclass(frozen=True)
class LadderDurations:
    """The durations of a ladder's runs and stages, with `parallel` runs at once. Within a stage,
    the runs of a level start when the last run of the level before has ended.
    """

    ladder: Ladder
    parallel: int
    flops_per_second: tuple[float, ...]  # speed at every level, then at the target

    def run_seconds(self, level: int) -> float:
        """The seconds of a run at a level."""
        return self.ladder.base_flops * self.ladder.cost(level) / self.flops_per_second[level]

    def stage_seconds(self, runs: Mapping[int, int]) -> float:
        """The seconds of a stage with `runs` per level."""
        return math.fsum(
            math.ceil(count / self.parallel) * self.run_seconds(level)
            for level, count in runs.items()
        )

    def rest_seconds(self, flops: float) -> float:
        """The seconds of runs of unknown levels, computed from their FLOPs: at the lowest speed of
        any width, with at most one block of runs in parallel.
        """
        at_once: int = min(self.parallel, 2 ** min(len(self.ladder.fitted), 3))
        return max(0.0, flops) / min(self.flops_per_second) / at_once
