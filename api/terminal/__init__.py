"""Output of results in a terminal.

In reading order: `words`, formats of numbers and tables · `views`, one view per kind of study ·
`telescoping`, reports of telescope jobs, with `ladder_tables`, `evidence`, `variants` and
`forecast` · `compute_time`, reports of compute-time jobs, with `frontier` and `batch_tables` ·
`progress`, the progress of a job, and `follow`, which prints the progress · `pictures`, plots as
PNG files.
"""
