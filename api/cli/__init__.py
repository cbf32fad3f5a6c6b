"""The command line.

In reading order: `start`, the entry point · `main`, the commands about jobs · `options`, arguments
and options that commands share · `output`, printed results and errors · `job_file`, the parser of
job files · `service`, the processes of a service · `solo`, a job without a service · `remote`, jobs
of a service · `coordinates`, `corpus`, `examples`, `export`, `frontier`, `judge`, one command or
group each · `demo`, the program of `make demo`.
"""
