"""Corpora, tokenizers, token files and batches.

In reading order: `documents`, read from a file · `tokenizer` · `tokens`, files of them · `corpora`,
the available texts · `batches`, the windows of each step of a trial.
"""
