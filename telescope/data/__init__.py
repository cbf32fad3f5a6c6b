"""Corpora, tokenizers, token files and batches.

In reading order: `documents`, of a file · `corpora`, the available texts · `tokenizer` · `tokens`,
token files, which are written once per corpus · `batches`, the windows of each step of a trial.
"""
