"""The progress of a ladder, from the trials that are completed.

A *ladder* is the search of one optimizer over increasing widths. A *stage* is a set of runs that
are planned together. Progress is not stored: all stages are planned anew from the completed trials
whenever the progress is needed.

In reading order: `specs`, the specification of a planned run · `ladders`, the ladders of a study
with their costs · `estimates`, the optimum at the target · `progress`, the stages so far and the
runs that are missing.
"""
