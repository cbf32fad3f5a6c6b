"""The service: HTTP, command line, coordinator and database.

In reading order: `settings` · `job_states`, with the verbs of users · `store` · `jobs` · `terminal`
· `coordinator` · `http` · `cli` · `examples`, printed by `telescope examples`.
"""
