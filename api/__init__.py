"""The service, with its database, its HTTP interface and the command line.

A job is a submitted question about hyperparameters. Its trials are the training runs that answer
the question. The modules and packages, in reading order:

- `settings`: the environment variables of an installation
- `job_states`: the states of jobs, and how requests of users change these states
- `store`: the database
- `jobs`: the operations on jobs that HTTP and the command line share
- `terminal`: the output of results in a terminal
- `coordinator`: the process that plans trials and records their outcomes
- `http`: the HTTP interface
- `cli`: the command line
- `examples`: the files that `telescope examples` prints
"""
