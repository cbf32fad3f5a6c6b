"""Use cases of jobs that HTTP and the command line share.

In reading order: `documents`, as users write them · `submission`, from a document to a job, with `admission`, what it may name, and
`from_jobs`, what it takes from others · `changes`, from one document to another · `machine`, for forecasts · `variants`, of trials ·
`analyses`, at hand · `reports` · `exports`.
"""
