"""The progress of a ladder, the search of one optimizer over widths. A *stage* is a set of runs
that are planned together. Each time, all stages are planned anew from the trials that have
finished.

In reading order: `specs`, the specification of a planned run · `ladders`, the ladders of a study
with their costs · `estimates`, the optimum at the target · `progress`, the stages so far and the
runs that are missing.
"""
