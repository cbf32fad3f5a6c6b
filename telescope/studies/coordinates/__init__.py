"""The coordinate check: do updates keep their size as width grows?

In reading order: `slopes`, how each layer's change grows with width · `causes`, the rule of a parametrisation that does not
fit · `check`, the trials, the verdict and the report · `plot`.
"""
