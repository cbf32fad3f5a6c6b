"""Checks of a telescoping document whose fields all have valid types. Each problem that a check
finds names the field, a remedy and, in most cases, the value of the field.

In reading order:

- `variants`: the entries of `sweep_over`
- `sections`: the document's sections on model, data, horizon and optimizer options
- `search`: the ranges to sweep, and the limits
- `published_rule`: the options of `schedule: paper`
- `checks`: all checks, in the order in which they run
"""
