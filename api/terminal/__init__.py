"""The output of results in a terminal.

The modules, in reading order:

- `words`: formats of numbers and tables
- `views`: the functions that print the results of each kind of job
- `telescoping`: reports of jobs of kind telescope
- `ladder_tables`, `evidence`, `variants`: parts of the reports of jobs of kind telescope
- `forecast`: the expected cost of jobs of kind telescope
- `compute_time`: reports and the expected cost of jobs of kind compute_time
- `grokking`, `grokking_tables`: reports, tables and the expected cost of jobs of kind grokking
- `frontier`, `batch_tables`: further tables of jobs of kind compute_time
- `progress`: a summary of the progress of a job
- `follow`: prints the summary of `progress` whenever this summary changes
- `pictures`: plots of telescoping reports and of judged sweeps, as PNG files
"""
