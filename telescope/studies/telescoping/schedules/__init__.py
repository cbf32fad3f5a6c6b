"""Schedules: the rules that choose the next runs of a ladder.

A *ladder* searches the hyperparameters of one optimizer at increasing widths. The *published rule*
is Algorithm 1 of arXiv 2505.02222. The modules in reading order:

- `windows`: the ranges that the published rule searches
- `samplers`: the choice of scattered points in such a range
- `places`: the place of an optimum among the values tried
- `edges`: the search beyond the lowest or highest value tried
- `paper`: the published rule
- `blocks`: groups of runs around the optimum
- `robust`: telescope's own rule
- `validation`: the runs at the target width
"""
