"""Use cases of jobs that HTTP and the command line share.

In reading order: `documents`, the YAML parser · `submission`, from a document to a job, with
`admission`, the files and code that a document may name, and `from_jobs`, hyperparameters of other
jobs · `changes`, the merge patch of a clone · `machine`, measurements for forecasts · `variants`,
the labels of trials · `analyses`, a cache of analyses · `reports`, the latest report of a job ·
`exports`, results in the formats of other trainers.
"""
