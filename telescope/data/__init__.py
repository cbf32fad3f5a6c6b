"""Corpora, tokenizers, token files and batches.

In reading order: `documents`, of a file · `tokenizer` · `tokens`, files of them · `corpora`, the
texts at hand · `batches`, what a trial reads at each step.
"""
