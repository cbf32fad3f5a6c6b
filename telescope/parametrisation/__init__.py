"""The scaling of hyperparameters with width.

In reading order: `roles`, the roles of parameters · `layout`, the matrices that a parameter holds ·
`mup`, the rules as tables · `initial_values`, the standard deviations of initial values at the base
width.
"""
