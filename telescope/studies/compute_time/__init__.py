"""Hours to reach a loss against devices, for Muon and AdamW, and whether an advantage lasts beyond
the critical batch.

The compute-time study (`kind: compute_time`, arXiv 2505.02222, sections 2 and 4, appendix F) trains
optimizers at several batch sizes and one width, each with its own hyperparameters, until they cross
the target losses.

- `question`: the document · `rows`, `report`: the types of answers · `reasons`: reasons of verdicts
  as values · `wording`: their text
- `runs`, `tuning`, `fold`: the runs that are needed
- `times`, `tables`, `analysis`: the answer to any target loss · `answer`: the report
- `bill`: the expected cost · `checks`: refusals · `plot` · `kind`: the `Kind` value that joins them
"""
