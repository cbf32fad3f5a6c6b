"""The coordinate check: whether updates keep their size as width grows.

In reading order: `slopes`, the growth of each layer's change with width · `causes`, the scaling
rules that do not fit · `reasons` for verdicts, and `wording`, their text · `design`, the runs ·
`check`, the verdict and the report · `plot`, the picture.
"""
