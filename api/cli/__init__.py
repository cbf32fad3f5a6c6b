"""The command line.

In reading order: `start`, the entry point · `main`, the commands · `output`, their output and
errors · `job_file` · `service`, the processes of a service · `solo`, a job without a service ·
`remote`, jobs of a service · `coordinates`, `corpus`, `examples`, `export`, `frontier`, `judge`,
one group of commands each · `demo`.
"""
