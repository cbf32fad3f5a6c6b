"""The database of jobs and trials. Only this package and `migrations` contain SQL.

The modules in reading order: `tables` declares the tables. `engines` and `database` manage
connections. `rows`, `pages` and `curves` declare the types of values. `statements` has SQL that the
modules below share. `jobs`, `trials` and `store` are the reads and writes of the HTTP service.
`job_record`, `plan_record` and `record` are the writes of the coordinator, the process that runs
the jobs.
"""
