"""The question of a telescoping study: the user's document as data, without plan or report.

In reading order: `models`, the model at all widths of a ladder · `parts`, sections of the
document · `question`, the document · `pairing`, the compatibility of scaling rules · `variants`, a
separate question for each architecture or corpus that a job compares · `documents`, the form of
variants in a job's document.
"""
