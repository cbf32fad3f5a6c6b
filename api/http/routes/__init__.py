"""Routes, one module per resource.

In reading order: `jobs` · `results` · `frontier` · `grokking` · `export` · `judgements` ·
`corpora` · `health`.
"""
