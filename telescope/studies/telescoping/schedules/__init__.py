"""Schedules: the next runs of a ladder.

In reading order: `windows` and `samplers`, the windows of the published rule and the points in them
· `places`, the place of an optimum relative to the values tried · `edges`, the search beyond a
border · `paper`, the published rule · `blocks`, the next best block of runs · `robust`, the greedy
rule · `validation`, runs at the target.
"""
