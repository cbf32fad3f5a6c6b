"""The database: the only package with SQL.

In reading order: `tables` · `engines`, `database`, connections · `rows`, `pages`, `curves`, the
types read · `statements`, shared by the others · `jobs`, `trials`, `store`, reads and writes of the
api · `job_record`, `record`, writes of the coordinator.
"""
