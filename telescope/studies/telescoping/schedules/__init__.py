"""Schedules: the next runs of a ladder.

In reading order: `windows` and `samplers`, the windows of the published rule and their points ·
`places`, where an optimum lies · `edges`, the search beyond a border · `paper`, the published rule
· `blocks`, the next best block of runs · `robust`, the greedy rule · `validation`, runs at the
target.
"""
