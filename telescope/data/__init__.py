"""Corpora, tokenizers, token files and batches.

In reading order: `documents`, the documents of a file · `corpora`, the available corpora ·
`tokenizer`, from text to token ids · `tokens`, token files, which are written once per corpus ·
`batches`, the sequences of tokens on which each step of a trial (one training run) trains ·
`algorithmic`, the tables of algorithmic tasks.
"""
