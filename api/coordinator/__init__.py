"""The coordinator: plans studies, dispatches trials to the executor, records events.

In reading order: `planner` · `dispatcher` · `loop`, which combines them · `main`, its process ·
`supervisor` of the processes of a service.
"""
