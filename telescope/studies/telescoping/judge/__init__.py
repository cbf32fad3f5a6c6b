"""The verdict on a sweep that was run elsewhere.

In reading order: `records`, the rows as given · `sweep`, a table of runs, parsed and checked ·
`judge`, the verdict on it.
"""
