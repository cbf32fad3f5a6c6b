"""The command line.

The modules, in reading order:

- `start`: the entry point
- `main`: the commands about jobs
- `options`: the arguments and options that several commands share
- `output`: the output of results and errors
- `job_file`: the parser of job files
- `service`: the commands that start the processes of a service
- `solo`: running a job without a service
- `remote`: the jobs of a service
- `coordinates`, `corpus`, `examples`, `export`, `frontier`, `grokking`, `judge`: one command or
  group of commands each
- `demo`: the program that `make demo` runs
"""
