"""The service: HTTP, command line, coordinator and database.

In reading order: `settings`, the environment variables of an installation · `job_states`, states
and verbs of jobs · `store`, the database · `jobs`, use cases shared by HTTP and the command line ·
`terminal`, printed results · `coordinator`, the process that plans and records trials · `http`, the
HTTP interface · `cli`, the command line · `examples`, the files that `telescope examples` prints.
"""
