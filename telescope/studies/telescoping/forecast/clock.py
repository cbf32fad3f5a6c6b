"""Wall-clock time of stages that several workers share."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from telescope.studies.telescoping.ladder.ladder import Ladder


@dataclass(frozen=True)
class Clock:
    """How long runs of one ladder take, so many at once; stages wait for their last run."""

    ladder: Ladder
    parallel: int
    flops_per_second: tuple[float, ...]  # per level, the target's last

    def run_seconds(self, level: int) -> float:
        """One run."""
        return self.ladder.base_flops * self.ladder.cost(level) / self.flops_per_second[level]

    def stage_seconds(self, runs: Mapping[int, int]) -> float:
        """Runs per level that start together."""
        return math.fsum(math.ceil(count / self.parallel) * self.run_seconds(level) for level, count in runs.items())

    def rest_seconds(self, flops: float) -> float:
        """FLOPs of which nothing is known: at the slowest level's speed, by as many runs at once as a block has corners."""
        at_once: int = min(self.parallel, 2 ** min(len(self.ladder.fitted), 3))
        return max(0.0, flops) / min(self.flops_per_second) / at_once
