"""The database: the only package with SQL.

In reading order: `tables` · `engines`, `database`, connections · `rows`, `pages`, `curves`, what is read · `statements`, shared ones ·
`jobs`, `trials`, `store`, what the api asks and writes · `job_record`, `record`, what the coordinator writes.
"""
