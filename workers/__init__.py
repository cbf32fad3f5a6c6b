"""Execution of trials.

A trial is one training run. The coordinator, which runs jobs, hands trials to an executor. The
executor trains them on one or more workers. In reading order:

- `interface`: the contract of every executor
- `desk`: the queues of assignments and events in an executor
- `packs`: the choice of trials that a worker trains together
- `runner`: the code that trains trials inside a worker
- `local`: an executor in this process
- `processes`: the killing of processes that a dead process has left behind
- `on_ray`: executors on Ray
"""
