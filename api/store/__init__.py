"""The database: the only package with SQL, apart from `migrations`.

In reading order: `tables` · connections: `engines`, `database` · types: `rows`, `pages`,
`curves` · SQL statements shared by the modules after them: `statements` · reads and writes of the
api: `jobs`, `trials`, `store` · writes of the coordinator: `job_record`, `plan_record`, `record`.
"""
