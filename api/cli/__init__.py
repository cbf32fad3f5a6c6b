"""The command line.

In reading order: `start`, the entry point · `main`, the commands · `options`, shared by commands ·
`output` of results and errors · `job_file`, read and checked · `service`, the processes of a
service · `solo`, a job without a service · `remote`, jobs of a service · `coordinates`, `corpus`,
`examples`, `export`, `frontier`, `judge`, one command or group each · `demo`, run by `make demo`.
"""
