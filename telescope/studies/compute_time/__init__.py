"""The compute-time study: how many tokens and hours Muon and AdamW need to reach a loss.

The study (`kind: compute_time`) follows sections 2 and 4 and appendix F of arXiv 2505.02222. It
trains each optimizer at one model width and several batch sizes. Each optimizer has its own
hyperparameters at each batch size. Runs that do not reach the target losses are made longer, up to
a limit. The report compares the optimizers' tokens at each batch size and their hours on each
number of devices. It also says whether an advantage of one optimizer lasts beyond the critical
batch. An optimizer needs more tokens to reach the loss at batch sizes above its critical batch than
at smaller ones.

- `question`: the user's document · `rows`, `report`: the types of answers · `reasons`: the reasons
  for verdicts · `wording`: the text of reasons
- `runs`, `tuning`, `fold`: the runs that the study needs
- `times`, `tables`, `analysis`: the answer for any target loss · `ledger`: the tuning and training
  of each optimizer · `answer`: the report
- `bill`: the expected cost · `checks`: the problems of a document · `plot`: the picture · `kind`:
  the functions of these modules, as one `Kind` value
"""
