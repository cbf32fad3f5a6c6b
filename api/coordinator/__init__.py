"""The coordinator: plans studies, dispatches trials to the executor, records events.

In reading order: `planner` · `dispatcher` · `loop`, which combines both · `main`, the process of a
coordinator · `supervisor`, which keeps the processes of a service alive.
"""
