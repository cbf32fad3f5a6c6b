"""The coordinate check, a test of a parametrisation: models of several widths train for a few
steps, and the changes that the updates cause must have about the same size at every width.

In reading order: `slopes`, how the changes in each layer grow with width · `causes`, the scaling
rules that may have caused a failed check · `reasons`, the reasons for verdicts · `wording`, the
text of reasons · `design`, the runs · `check`, the verdict and the report · `plot`, the picture.
"""
