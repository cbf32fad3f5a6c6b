"""Times of published runs: the sweeps and the five seeds of Na00s/muon-grokking (arXiv 2608.07436),
in steps to a sustained accuracy of 95 %, of at most 100,000."""

from telescope.statistics.survival import Durations

BUDGET = 100_000.0
ADAMW_STEPS = [25_500, 52_500, 8_200, 49_500, 8_500, 62_900, 6_300, None, None, None, None]
MUON_STEPS = [5_400, 6_000, 7_200, 8_500, 9_000, 14_400, 19_000, 19_500, 28_100]
ADAMW, MUON = Durations.of(ADAMW_STEPS, BUDGET), Durations.of(MUON_STEPS, BUDGET)

ADAMW_SEEDS = [8_800.0, 8_300.0, 4_000.0, 11_700.0, 6_400.0]
MUON_SEEDS = [5_300.0, 5_380.0, 5_390.0, 5_395.0, 5_400.0]  # published as 5,300 to 5,400
