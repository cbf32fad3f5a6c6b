"""The forecast of a telescoping study's cost.

A *ladder* searches the hyperparameters of one optimizer at increasing widths. The modules in
reading order:

- `rehearsal`: a simulation of the schedule on losses with a known optimum
- `bill`: the runs of a ladder and their cost
- `alternatives`: other ways to choose the learning rate, with their cost
- `clock`: the seconds that the runs take if several run in parallel
- `preview`: the whole forecast
"""
