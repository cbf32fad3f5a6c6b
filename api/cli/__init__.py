"""The command line.

In reading order: `main`, the commands · `output`, how they speak · `job_file` · `service`, the processes of a service · `solo`, a job
without one · `remote`, jobs at one · `coordinates`, `corpus`, `export`, `frontier`, `judge`, a group of commands each · `demo`.
"""
