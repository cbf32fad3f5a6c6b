"""The question of a telescoping study: data, without plan or report.

In reading order: `models`, the models of a ladder · `parts` of the document · `question`, the
document · `pairing`, the compatibility of scaling rules · `variants`, a separate question for each
architecture or text that a job compares · `documents`, their form in a job's document.
"""
