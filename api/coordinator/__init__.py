"""The coordinator: plans studies, hands trials to the executor, records events.

In reading order: `planner` · `dispatcher` · `loop`, with both · `main`, its process · `supervisor`, the processes of a service.
"""
