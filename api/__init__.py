"""The service that runs jobs, with a database, an HTTP interface and a command line.

A job is a submitted question about hyperparameters. Its trials are the training runs that answer
the question. The modules and packages, in reading order:

- `settings`: the environment variables of an installation
- `job_states`: the states of jobs, and the legal transitions between them
- `store`: the database
- `jobs`: the operations on jobs that the HTTP interface and the command line share
- `terminal`: the output of results in a terminal
- `coordinator`: the process that plans trials and records their outcomes
- `http`: the HTTP interface
- `cli`: the command line
- `examples`: the files that `telescope examples` prints
"""
