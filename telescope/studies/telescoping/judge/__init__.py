"""The verdict on a sweep that was run elsewhere.

In reading order: `sweep`, a table of runs, read and checked · `judge`, the verdict on it.
"""
