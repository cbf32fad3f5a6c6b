"""The question of a telescoping study: the user's document, as typed data.

A telescoping study searches hyperparameters at small widths, for a run at a large width. The
modules in reading order:

- `models`: the model at all widths of the search
- `parts`: the variants, the search, the options of `schedule: paper`, and the limits
- `question`: the whole document
- `pairing`: the compatibility of scaling rules, and the assumptions of an answer
- `variants`: a separate question for each architecture or corpus that a job compares
- `documents`: the form of the variants in a user's document
"""
