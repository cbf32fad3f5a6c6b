"""The verdict on a sweep that was run without telescope.

In reading order: `records`, the rows as submitted · `sweep`, a checked table of runs · `formats`,
the table in CSV and JSON · `as_ladder`, the sweep in the form of a telescoping search · `levels`,
the verdict on each width · `judge`, the verdict on the sweep.
"""
