"""Closed-form losses in place of training, shared by tests and benchmarks: the right answer is
known exactly.

`bowls`, a loss over hyperparameters and width · `scenarios`, questions about bowls and the quality
of their answers · `batch_laws`, loss curves over batch sizes · `batch_jobs`, finished jobs of such
curves in a database. Not installed; no product code imports them.
"""
