"""The database of jobs and trials. Only this package and `migrations` contain SQL.

The modules in reading order: `tables` declares the tables. `engines` and `database` manage
connections. `rows` declares the types that the other modules return and accept. `pages` cuts lists
into pages, and `curves` encodes loss curves. `statements` has SQL that the remaining modules share.
`jobs`, `trials` and `store` are the reads and writes of the HTTP service. `job_record`,
`plan_record` and `record` are the writes of the coordinator, the process that runs the jobs.
"""
