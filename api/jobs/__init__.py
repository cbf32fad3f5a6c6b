"""Functions for jobs, which the HTTP interface and the command line share.

A document is the mapping that describes a job. The modules, in reading order:

- `documents`: the parser of documents in YAML
- `submission`: the steps from a document to a job
- `admission`: the files and the code that a document may name
- `from_jobs`: hyperparameters of a compute-time job, taken from the results of other jobs
- `changes`: the changes that a clone makes to a job's document
- `machine`: facts about this installation, for forecasts of the cost of a job
- `variants`: trials with their labels, which state the place of each trial in its study
- `analyses`: a cache of the analyses of compute-time jobs
- `reports`: the latest report of a job
- `exports`: results in the formats of other trainers
"""
