"""The grokking study: does an optimizer generalise sooner on algorithmic tasks?

The study (`kind: grokking`) follows arXiv 2504.16041. It trains models with Muon and with AdamW on
small tables of questions and answers, and compares the times after which the models answer the
held-out questions. A *cell* is a task together with a softmax; each cell is a comparison of its
own.

- `question`, `models`: the user's document and its models · `rows`, `report`, `tables`: the types
  of the report and its tables · `assumptions`: the type of a value of the experiment with its
  origin · `reasons`: the reasons for verdicts · `wording`: the text of reasons
- `runs`, `search`, `fold`: the runs that the study needs
- `comparison`: the comparison of the optimizers in a cell · `run_rows`: the rows of single runs ·
  `ledger`: the tuning and training that each optimizer received, and the values of the experiment
  with their origin · `answer`: the report
- `bill`: the expected cost · `checks`: the problems of a document · `plot`: the picture · `kind`:
  the functions of these modules, as one `Kind` value
"""
