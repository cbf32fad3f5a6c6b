"""The forecast of a telescoping study's cost.

In reading order: `rehearsal`, a simulation of the schedule on losses with a known optimum · `bill`,
the runs of a ladder (the search of one optimizer over widths) and their cost · `alternatives`,
other ways to choose the learning rate, with their cost · `clock`, the seconds that the runs take if
several run in parallel · `preview`, the whole forecast.
"""
