"""How hyperparameters scale with width: roles, layouts of matrices, and the muP table."""
