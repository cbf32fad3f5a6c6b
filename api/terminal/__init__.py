"""Output of results in a terminal.

In reading order: `words`, numbers and tables · `views`, one per kind of study · `telescoping`, with
`ladder_tables`, `evidence`, `variants` and `forecast` · `compute_time`, with `frontier` and
`batch_tables` · `progress` of a job and `follow`, which prints it · `pictures`, plots as PNG.
"""
