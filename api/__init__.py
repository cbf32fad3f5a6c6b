"""The service: HTTP, command line, coordinator and database.

In reading order: `settings` · `job_states`, with what users may ask for · `store` · `jobs` · `terminal` · `coordinator` · `http` · `cli`.
"""
