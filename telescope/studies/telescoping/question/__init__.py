"""The question of a telescoping study: the user's document, as typed data.

In reading order:

- `models`: the model at all widths of the search
- `parts`: the search, the options of `schedule: paper`, the limits and the variants
- `question`: the whole document
- `pairing`: the compatibility of scaling rules, and the assumptions of an answer
- `variants`: a separate question for each architecture or corpus that a job compares
- `documents`: the form in which a user's document writes the variants
"""
