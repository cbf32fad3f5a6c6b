"""Use cases of jobs that HTTP and the command line share.

In reading order: `documents`, as users write them · `submission`, from a document to a job, with
`admission`, the files and code that it may name, and `from_jobs`, values taken from other jobs ·
`changes`, from one document to another · `machine`, for forecasts · `variants` of trials ·
`analyses`, a cache · `reports` · `exports`.
"""
