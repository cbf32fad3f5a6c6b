"""The coordinate check: do updates keep their size as width grows?

In reading order: `slopes`, how each layer's change grows with width · `causes`, the rules of a parametrisation that do not
fit · `reasons`, why a check comes out as it does, and `wording`, the same in words · `check`, the trials, the verdict and the
report · `plot`.
"""
