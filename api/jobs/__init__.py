"""Work on jobs that the HTTP interface and the command line share.

In reading order:

- `documents`: the parser of documents in YAML
- `submission`: the steps from a document to a job
- `admission`: the files and the code that a document may name
- `from_jobs`: hyperparameters from the results of other jobs
- `changes`: the changes that a clone makes to a job's document
- `machine`: facts about this installation, for forecasts
- `variants`: trials with their labels
- `analyses`: a cache of the analyses of compute-time jobs
- `reports`: the latest report of a job
- `exports`: results in the formats of other trainers
"""
