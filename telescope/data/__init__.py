"""Corpora, tokenizers, token files and batches.

In reading order: `documents`, which reads the documents of a file · `corpora`, the available
corpora · `tokenizer`, which turns text into token ids · `tokens`, which writes token files ·
`batches`, the sequences of tokens on which each step of a trial (one training run) trains ·
`algorithmic`, the tables of algorithmic tasks.
"""
