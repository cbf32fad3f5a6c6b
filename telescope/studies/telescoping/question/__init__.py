"""The question of a telescoping study: the user's document, as typed data.

In reading order:

- `models`: the model at all widths of the search
- `parts`: other sections of the document
- `question`: the whole document
- `pairing`: the compatibility of scaling rules
- `variants`: a separate question for each architecture or corpus that a job compares
- `documents`: the form in which a user's document writes the variants
"""
