"""A ladder of widths and the statistical model of its losses.

A ladder sweeps each of its axes and fits those that it can. An axis is *fitted* if it sweeps three
values or more: the model estimates an optimum along it, with an interval, and the optimum may move
with width. An axis of fewer values is *merely swept*: its values are compared, and at each level
the value that did best when the level was first run is kept. The model then uses the runs at these
values alone, without the axis.

In reading order: `bowl`, the form of the loss and its parameters · `sample`, the fitted runs ·
`pooled`, a model over all levels, with its intervals · `ladder`, a ladder with its points, stages
and outcomes · `per_level`, the plain alternative.
"""
