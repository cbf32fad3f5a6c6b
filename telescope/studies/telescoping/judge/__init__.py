"""The verdict on a sweep that was run elsewhere.

In reading order: `records`, the rows as submitted · `sweep`, a checked table of runs · `formats`,
its CSV and JSON forms · `as_ladder`, the sweep as a ladder · `levels`, the verdict on each width ·
`judge`, the verdict on the sweep.
"""
