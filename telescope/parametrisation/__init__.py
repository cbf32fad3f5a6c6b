"""The scaling of hyperparameters with the width and depth of a model.

In reading order: `roles`, the roles of parameters · `layout`, the matrices that a parameter holds ·
`mup`, the scaling rules · `initial_values`, the initial values before scaling.
"""
