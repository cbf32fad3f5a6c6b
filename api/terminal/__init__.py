"""Output of results in a terminal.

In reading order: `words`, numbers and tables · `views`, one per kind of study · `telescoping`, with
`evidence`, `variants` and `forecast` · `compute_time`, with `frontier` · `progress` of a job and
`follow`, which prints it · `pictures`.
"""
