"""To reach a loss, how do hours trade against devices, for Muon and for AdamW, and does an advantage last past the critical batch?

The compute-time study (`kind: compute_time`, arXiv 2505.02222, sections 2 and 4): both optimizers at every batch size, each at
hyperparameters of its own, trained until they cross the target losses.

Parts: `rows`, what it answers to a target loss.
"""
