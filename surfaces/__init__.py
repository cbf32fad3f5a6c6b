"""Losses that come from formulas instead of training, so that the right answer is known exactly.

Tests and benchmarks share this package. `bowls` has the loss as a function of hyperparameters and
width. `scenarios` runs studies on bowls and measures how good their answers are. `batch_laws` has
loss curves at many batch sizes. `batch_jobs` writes finished jobs with such curves to a database.
The package is not installed, and neither telescope nor its service imports it.
"""
