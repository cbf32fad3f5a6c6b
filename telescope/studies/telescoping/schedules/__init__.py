"""Schedules: the rules that choose the next runs of a ladder.

In reading order: `windows`, the windows of the published rule · `samplers`, the points in a window
· `places`, the place of an optimum among the values tried · `edges`, the search beyond a border ·
`paper`, the published rule · `blocks`, the next blocks of runs · `robust`, the greedy rule ·
`validation`, the runs at the target.
"""
