"""The progress of a ladder: its stages, replayed over its finished trials.

In reading order: `specs`, the specification of a planned run · `ladders`, the ladders of a study
with their costs · `estimates`, the optimum at the target · `progress`, the replay.
"""
