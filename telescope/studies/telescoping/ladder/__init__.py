"""A ladder of widths, and the statistical model of its losses.

A *ladder* sweeps hyperparameters at several widths; each width is usually twice the one before.
Each width is a *level*. An *axis* is one swept hyperparameter, in octaves (factors of 2). An axis
with three values or more is *fitted*: the statistical model estimates an optimum along this axis,
with an interval, and the optimum may move with width. An axis with fewer values is *merely swept*:
its values are only compared. The statistical model has no parameters for a merely swept axis. At
each level, the model uses only the runs at the value that was best in the level's first stage, the
first set of runs that were planned together.

In reading order: `bowl`, the form of the loss and its parameters · `sample`, the runs in a fit ·
`pooled`, the model of all levels, with intervals at the target · `ladder`, a ladder with its
points, stages and outcomes · `per_level`, a simpler estimator that fits each level by itself.
"""
