"""The coordinate check: whether updates keep their size as width grows.

In reading order: `slopes`, the growth of each layer's change with width · `causes`, the rules of a
parametrisation that do not fit · `reasons` of verdicts, and `wording`, their text · `check`, the
trials, the verdict and the report · `plot`.
"""
