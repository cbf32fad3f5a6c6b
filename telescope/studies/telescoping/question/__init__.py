"""What a telescoping study asks: data, without plan or report.

In reading order: `models`, the models that a ladder trains · `parts`, of the document · `question`, the document · `pairing`, which
scaling rules go together · `variants`, a question of its own for each architecture or text that a job compares · `documents`, how those
are written in a job.
"""
