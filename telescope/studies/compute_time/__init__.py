"""Hours against devices to reach a loss, for Muon and for AdamW, and whether an advantage lasts past the critical batch.

The compute-time study (`kind: compute_time`, arXiv 2505.02222, sections 2 and 4, appendix F): optimizers at batch sizes, at
one width, each at hyperparameters of its own, trained until they cross the target losses.

- `question`: the document · `rows`, `report`: the types of answers · `reasons`: why a verdict is what it is · `wording`: in words
- `runs`, `tuning`, `fold`: which runs are needed
- `times`, `tables`, `analysis`: the answer to any target loss · `answer`: the report
- `bill`: the cost beforehand · `checks`: what is refused · `plot` · `kind`: all of it as one value
"""
