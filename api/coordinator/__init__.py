"""The coordinator: the process that plans the trials of all jobs and records their results.

A trial is one training run. The coordinator hands trials to an executor, which trains them
(`workers.interface`). In reading order:

- `planner`: inserts the trials that a job needs next, and makes reports
- `dispatcher`: hands trials to the executor, and records what happens to them
- `loop`: calls planner and dispatcher in turn
- `main`: the process of a coordinator
- `supervisor`: keeps the processes of a service alive
"""
