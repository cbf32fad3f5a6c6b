"""To reach a loss, how do hours trade against devices, for Muon and for AdamW, and does an advantage last past the critical batch?

The compute-time study (`kind: compute_time`, arXiv 2505.02222, sections 2 and 4, appendix F): optimizers at batch sizes, at one width, each
at hyperparameters of its own, trained until they cross the target losses.

Parts:

- the question and its fold: `question`, `tuning`, `runs`, `study`, `checks`
- the answer to any target loss: `rows`, its types · `analysis`, with `times` and `tables`
- the report: `report`, its types · `answer`
- the bill beforehand: `bill`
"""
