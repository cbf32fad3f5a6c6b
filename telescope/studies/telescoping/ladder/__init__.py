"""A ladder of widths and the statistical model of its losses.

A ladder sweeps all of its axes. An axis is *fitted* if it has three values or more: the model
estimates an optimum along it, with an interval, and the optimum may move with width. An axis with
fewer values is *merely swept*: its values are compared, and each level keeps the value that did
best in the level's first stage. The model has no parameters for such an axis, and uses only the
runs at the values kept.

In reading order: `bowl`, the form of the loss and its parameters · `sample`, the fitted runs ·
`pooled`, the model of all levels, with intervals at the target · `ladder`, a ladder with its
points, stages and outcomes · `per_level`, a simpler estimator that fits each level by itself.
"""
