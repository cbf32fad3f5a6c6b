"""The output of results in a terminal.

The modules, in reading order:

- `words`: formats of numbers and tables
- `views`: the functions that print the results of each kind of job
- `telescoping`: reports of jobs of kind telescope; `ladder_tables`, `evidence`, `variants` and
  `forecast` print parts of these reports and the expected cost of such jobs
- `compute_time`: reports of jobs of kind compute_time; `frontier` and `batch_tables` print further
  tables of such jobs
- `progress`: a summary of the progress of a job; `follow` prints the summary whenever it changes
- `pictures`: plots as PNG files
"""
