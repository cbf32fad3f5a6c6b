"""The compute-time study: how many tokens and hours Muon and AdamW need to reach a loss.

The study (`kind: compute_time`) follows sections 2 and 4 and appendix F of arXiv 2505.02222. With
each optimizer, it trains models of one width at several batch sizes. Hyperparameters depend on the
optimizer and the batch size. If runs do not reach the lowest target loss, longer runs follow, up to
a limit. The report compares the tokens that the optimizers need at each batch size, and the hours
that they need on each number of devices. It also states how the ratio of their tokens changes
beyond the critical batch, which is the batch size above which an optimizer needs more tokens.

- `question`: the user's document · `rows`, `report`: the types of answers · `reasons`: the reasons
  for verdicts, and doubts about answers · `wording`: the text of reasons and doubts
- `runs`, `tuning`, `fold`: the runs that the study needs
- `times`, `tables`, `analysis`: the answer for any target loss · `ledger`: the tuning and training
  that each optimizer received · `answer`: the report
- `bill`: the expected cost · `checks`: the problems of a document · `plot`: the picture · `kind`:
  the `Kind` value of the study
"""
