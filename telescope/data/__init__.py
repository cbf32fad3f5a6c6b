"""Corpora, tokenizers, token files and batches."""
