"""The forecast of a telescoping study's cost.

In reading order: `rehearsal`, the schedule of runs simulated on losses with a known optimum ·
`bill`, the runs of a ladder and their cost · `alternatives`, other ways to choose the learning
rate, with their cost · `clock`, the seconds that runs take if they share workers · `preview`, the
whole forecast.
"""
