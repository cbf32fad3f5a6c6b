"""Hours to reach a loss against devices, for Muon and AdamW, and whether an advantage lasts beyond
the critical batch.

The compute-time study (`kind: compute_time`, arXiv 2505.02222, sections 2 and 4, appendix F) trains
each optimizer at one width and several batch sizes, with hyperparameters of its own at each batch,
until the runs reach the target losses.

- `question`: the document · `rows`, `report`: the types of answers · `reasons`: the reasons for
  verdicts · `wording`: the text of reasons
- `runs`, `tuning`, `fold`: the runs that the study needs
- `times`, `tables`, `analysis`: the answer to any target loss · `ledger`: the tuning and training
  that each optimizer received · `answer`: the report
- `bill`: the expected cost · `checks`: the problems of a document · `plot`: the picture · `kind`:
  the `Kind` value with the functions of these modules
"""
