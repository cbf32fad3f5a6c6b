"""Closed-form losses in place of training, shared by tests and benchmarks: the right answer is
known exactly.

`bowls`, a loss over hyperparameters and width · `scenarios`, studies of bowls and the quality of
their answers · `batch_laws`, loss curves over batch sizes · `batch_jobs`, finished jobs with such
curves in a database. The package is not installed, and no product code imports it.
"""
