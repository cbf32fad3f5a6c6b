"""Checks of the document of a telescoping job. All fields of the document have valid types.

A problem that a check finds has a field, a message and, in most cases, the value of the field.

In reading order:

- `variants`: the entries of `sweep_over`
- `sections`: the sections `model`, `data`, `horizon` and `optimizer_options`
- `search`: the ranges to sweep, and the limits
- `published_rule`: the options of `schedule: paper`
- `checks`: the checks together, in the order in which they run
"""
