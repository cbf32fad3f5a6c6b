"""Parts of cost forecasts that any kind of study can use.

In reading order: `span`, a quantity with its bounds · `pace`, the speed of runs · `disk`, the disk
space of curves and checkpoints.
"""
