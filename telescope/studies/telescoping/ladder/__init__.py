"""A ladder of widths and the statistical model of its losses.

A ladder sweeps all of its axes. An axis is *fitted* if it has three values or more: the model
estimates an optimum along it, with an interval, and the optimum may move with width. An axis with
fewer values is *merely swept*: its values are compared, and each level keeps the value that did
best when the level was first run. The model then uses only the runs at these values, and has no
parameters for the axis.

In reading order: `bowl`, the form of the loss and its parameters · `sample`, the fitted runs ·
`pooled`, a model over all levels, with its intervals · `ladder`, a ladder with its points, stages
and outcomes · `per_level`, a simpler estimator that fits each level by itself.
"""
