"""Routes, one module per resource.

In reading order: `jobs` · `results` · `frontier` · `export` · `judgements` · `corpora` · `health`.
"""
