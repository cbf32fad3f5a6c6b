"""The coordinate check, a test of a parametrisation.

Models of several widths train for a few steps. The changes of their layers' outputs must have about
the same size at every width.

In reading order: `slopes`, the growth of the changes with width · `causes`, the scaling rules that
may have caused a failed check · `reasons`, the reasons for verdicts · `wording`, the text of
reasons · `design`, the runs · `check`, the verdict and the report · `plot`, the picture.
"""
