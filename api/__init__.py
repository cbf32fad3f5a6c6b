"""The service: HTTP, command line, coordinator and database.

In reading order: `settings` of an installation · `job_states`, and the verbs that users request ·
`store`, the database · `jobs`, use cases shared by HTTP and the command line · `terminal`, output
of results · `coordinator` · `http` · `cli` · `examples`, printed by `telescope examples`.
"""
