"""Use cases of jobs that HTTP and the command line share.

In reading order: `documents`, as users write them · `submission`, from a document to a job, with
`admission`, the files and code that a document may name, and `from_jobs`, values taken from other
jobs · `changes` of a document, for a clone · `machine`, measurements for forecasts · `variants` of
trials · `analyses`, a cache · `reports` · `exports`.
"""
