"""Hours to reach a loss against devices, for Muon and AdamW, and whether an advantage lasts beyond
the critical batch.

The compute-time study (`kind: compute_time`, arXiv 2505.02222, sections 2 and 4, appendix F) trains
each optimizer at one width and several batch sizes, with hyperparameters of its own at each batch,
until the runs reach the target losses.

- `question`: the document · `rows`, `report`: the types of answers · `reasons`: reasons for
  verdicts as values · `wording`: their text
- `runs`, `tuning`, `fold`: the runs that are needed
- `times`, `tables`, `analysis`: the answer to any target loss · `ledger`: the effort that each
  optimizer received · `answer`: the report
- `bill`: the expected cost · `checks`: refusals of documents · `plot`: the picture · `kind`: the
  `Kind` value that joins them
"""
