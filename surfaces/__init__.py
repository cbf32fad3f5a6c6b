"""Closed-form losses in place of training, shared by tests and benchmarks: what an answer should be
is known exactly.

`bowls`, a loss over hyperparameters and width · `scenarios`, what is asked of them and how well it
must go · `batch_laws`, loss curves over batch sizes · `batch_jobs`, finished jobs of such curves in
a database. Not installed; no product code imports them.
"""
