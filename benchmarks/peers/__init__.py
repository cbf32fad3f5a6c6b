"""The programs that users would write to run the same trials without telescope.

`plain` trains one trial. `loops` trains many trials, with one process per core. `ray_tune` trains
many trials with Ray Tune, in two ways.
"""
