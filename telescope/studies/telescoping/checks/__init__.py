"""Checks of a well-typed telescoping document. Each problem names its field and remedy
and, in most cases, its value.

In reading order:

- `variants`: the entries of `sweep_over`
- `sections`: the document's sections on model, data, horizon and optimizer options
- `search`: the ranges to sweep, and the limits
- `published_rule`: the options of `schedule: paper`
- `checks`: all checks, in the order in which they run
"""
