"""The scaling of hyperparameters with width.

In reading order: `roles`, of parameters · `layout`, the matrices that a parameter holds · `mup`,
the rules as tables.
"""
