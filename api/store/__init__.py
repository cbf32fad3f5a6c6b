"""The database: the only package with SQL.

In reading order: `tables` · connections: `engines`, `database` · types of what is read: `rows`,
`pages`, `curves` · `statements`, shared by the following · reads and writes of the api: `jobs`,
`trials`, `store` · writes of the coordinator: `job_record`, `plan_record`, `record`.
"""
