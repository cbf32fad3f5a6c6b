"""The grokking study: does an optimizer generalise sooner on algorithmic tasks?

The study (`kind: grokking`) follows arXiv 2504.16041. It trains models with Muon and with AdamW on
small tables of questions and answers, and compares the times after which the models answer the
held-out questions. A *cell* is a task together with a variant of softmax; each cell is a comparison
of its own.

- `question`, `models`: the user's document and its models
- `runs`, `search`, `fold`: the runs that the study needs
- `comparison`: the comparison of the optimizers in a cell
- `reasons`, `wording`: the reasons for verdicts, and their texts
- `rows`, `report`, `tables`: the types of the report and its tables
- `assumptions`: a setting of the experiment, with its origin
- `run_rows`: the rows of single runs
- `ledger`: the tuning and training that each optimizer received, and the settings of the
  experiment with their origins
- `answer`: the report
- `bill`: the expected cost
- `checks`: the problems of a document
- `plot`: the pictures
- `kind`: the study as a `Kind` value
"""
