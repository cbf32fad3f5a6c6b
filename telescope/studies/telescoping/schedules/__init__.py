"""Schedules: the rules that choose the next runs of a ladder, the search of one optimizer over
widths.

In reading order: `windows`, the ranges searched by the published rule · `samplers`, the points in
such a range · `places`, the place of an optimum among the values tried · `edges`, the search beyond
the lowest or highest value tried · `paper`, the published rule · `blocks`, groups of runs around
the optimum · `robust`, telescope's own rule · `validation`, the runs at the target.
"""
