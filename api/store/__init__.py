"""The database of jobs and trials. The rest of `api` contains no SQL.

The modules, in reading order:

- `tables`: the declarations of the tables
- `engines`, `database`: connections and transactions
- `rows`: jobs, trials, pages and filters as Python values
- `pages`: pages of long lists
- `curves`: the storage and display of loss curves
- `statements`: SQL that the modules below share
- `jobs`, `trials`, `store`: reads of jobs and trials, and the writes that users request
- `job_record`, `plan_record`, `record`: the operations of the coordinator, the process that runs
  the jobs
"""
