"""Parts of cost forecasts that all kinds of study share.

In reading order: `span`, a quantity with its bounds · `pace`, the speed of runs · `disk`, the space
that curves and checkpoints take.
"""
